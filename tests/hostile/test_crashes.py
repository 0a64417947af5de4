"""A training that is stopped at any of its file operations goes on to the same bits.

A shim counts what a training asks of the file system. At the n-th operation it lets it fail as on a full disk, or the
process die: from then on nothing that is asked has any effect, not even what would tidy up.
"""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gmlayers.experiments import run_folder
from gmlayers.experiments.data import Data
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.records import read_tensors
from gmlayers.experiments.run_folder import Run, fingerprint
from gmlayers.experiments.train_command import How, train_run
from gmlayers.experiments.trainer import Task

OPERATIONS = ("open", "replace", "rename", "fsync", "mkdir", "rmdir", "unlink", "ftruncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """The process has died."""


class Shim:
    """Stands before the file system, and counts."""

    def __init__(self, patch, kind=None, at=0):
        self.kind, self.at, self.count, self.dead = kind, at, 0, False
        for name in OPERATIONS:
            patch.setattr(os, name, self._guarded(getattr(os, name)))
        patch.setattr(os, "fdopen", self._opened(os.fdopen))

    def step(self):
        """Count an operation; return whether the process dies at it."""
        if self.dead:
            raise Killed
        self.count += 1
        if self.count == self.at and self.kind == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        self.dead = self.count == self.at
        return self.dead

    def _guarded(self, operation):
        def guarded(*arguments, **options):
            if self.step() and self.kind == "killed before":
                raise Killed
            result = operation(*arguments, **options)
            if self.dead:
                raise Killed
            return result

        return guarded

    def _opened(self, fdopen):
        def opened(descriptor, mode, *rest):
            file = fdopen(descriptor, mode, *rest)
            return Written(self, file) if mode != "rb" else file

        return opened


class Written(io.RawIOBase):
    """A file that dies half way through a write."""

    def __init__(self, shim, file):
        self.shim, self.file = shim, file

    def write(self, content):
        if self.shim.step():
            self.file.write(content[: len(content) // 2 if self.shim.kind == "killed before" else len(content)])
            self.file.flush()
            raise Killed
        self.file.write(content)
        self.file.flush()
        return len(content)

    def fileno(self):
        return self.file.fileno()

    def close(self):
        self.file.close()
        super().close()


def crash(run, data, folder, kind, at, *, batched=False):
    """Train up to a crash; return whether there was one. Of a process that is dead the system lets all locks go."""
    with pytest.MonkeyPatch.context() as patch:
        Shim(patch, kind, at)
        try:
            train(run, data, folder, batched=batched)
        except (OSError, Killed):
            return True
        finally:
            for link in Path("/proc/self/fd").iterdir():
                if os.path.lexists(link) and link.readlink() == folder / ".lock":
                    os.close(int(link.name))
    return False


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, generator=g), torch.arange(40) % 2
    return Data("made", x[:30], y[:30], x[30:], y[30:], ("a", "b"), 5, ("x", "y", "z"))


@pytest.fixture(scope="module")
def run(data):
    recipe = MODELS["low_rank"].recipe.__class__(epochs=2, batch_size=15, input_dropout=0.1)
    return Run(
        "made", None, "auto", Task.of(data), fingerprint(data), "low_rank", Shape(components=2), recipe, (0, 1),
        validate=False, device="cpu", threads=1,
    )  # fmt: skip


def train(run, data, folder, *, batched=False):
    """As `gmlayers train` does, or with --resume if the folder is there."""
    if not folder.exists():
        run_folder.create(run, folder)
    assert run_folder.open_run(folder) == run
    train_run(run, data, folder, How(batched=batched))


def result(run, folder):
    """All that a training has come to, but for the seconds."""
    tensors = [read_tensors(folder / f"seed-{seed}" / "checkpoint.safetensors")[0] for seed in run.seeds]
    summary = [
        {k: v for k, v in t.items() if k not in ("seconds", "metrics")} for t in run_folder.read_summary(run, folder)
    ]
    return tensors, summary, run_folder.read_curves(run, folder).tolist()


def same(one, other):
    """Whether two trainings have come to the same bits."""
    return one[1:] == other[1:] and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one[0], other[0])
    )


@pytest.fixture(scope="module")
def undisturbed(run, data, tmp_path_factory):
    """The results of a training, and the number of its file operations."""
    found = {}
    for batched in (False, True):
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        with pytest.MonkeyPatch.context() as patch:
            shim = Shim(patch)
            train(run, data, folder, batched=batched)
        found[batched] = result(run, folder), shim.count
    return found


@pytest.mark.parametrize("kind", ["killed before", "killed after", "full"])
def test_a_crash_at_any_file_operation_loses_nothing(run, data, undisturbed, tmp_path, kind):
    expected, operations = undisturbed[False]
    crashes = 0
    for at in range(1, operations + 1):
        folder = tmp_path / str(at) / "run"
        crashes += crash(run, data, folder, kind, at)
        train(run, data, folder)
        assert same(expected, result(run, folder)), at
        left = [path.name for path in folder.rglob("*") if path.name not in WANTED]
        assert not left, at
    assert crashes > 70  # the others were nobody's loss, such as a lock that cannot be deleted


WANTED = {
    "config.json", "environment.json", "summary.json", ".lock", "seed-0", "seed-1", "metrics.jsonl",
    "checkpoint.safetensors",
}  # fmt: skip


def test_seeds_that_are_trained_at_once(run, data, undisturbed, tmp_path):
    expected, operations = undisturbed[True]
    for at in range(operations // 3, operations + 1, 3):
        folder = tmp_path / str(at) / "run"
        assert crash(run, data, folder, "killed before", at, batched=True)
        train(run, data, folder, batched=True)
        torch.testing.assert_close(result(run, folder)[0], expected[0], rtol=1e-4, atol=1e-5)


def test_a_crash_while_it_is_continued(run, data, undisturbed, tmp_path):
    """It is stopped in the middle, and again at every operation of what follows."""
    expected, operations = undisturbed[False]
    for at in range(1, operations, 2):
        folder = tmp_path / str(at) / "run"
        crash(run, data, folder, "killed before", operations // 2)
        crashed = crash(run, data, folder, "killed before", at)
        train(run, data, folder)
        assert same(expected, result(run, folder)), at
        if not crashed:
            return
    pytest.fail("it is always stopped")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system"), (errno.EACCES, "Permission denied")],
)
def test_where_nothing_can_be_written_there_is_one_line_and_what_only_reads_works(
    received, call, refused, tmp_path, monkeypatch, number, words
):
    before = call("evaluate", received)
    kept = {path: path.read_bytes() for path in received.rglob("*") if path.is_file()}
    whole = os.open

    def opened(path, flags, *rest, **options):
        if flags & WRITES and str(path).startswith(str(tmp_path)):
            raise OSError(number, os.strerror(number), str(path))
        return whole(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", opened)
    refused("train", "--resume", received, parts=(received, words))
    assert call("evaluate", received) == before
    assert call("compare", received)[0] == 0
    refused("compare", received, "--out", tmp_path / "out.csv", parts=("out.csv", words))
    assert {path: path.read_bytes() for path in received.rglob("*") if path.is_file()} == kept


def test_what_may_not_be_read_is_not_said_to_be_missing(received, refused, monkeypatch):
    whole = os.open
    for name in ("config.json", "seed-0/checkpoint.safetensors", "summary.json"):

        def opened(path, *rest, hidden=received / name, **options):
            if Path(path) == hidden:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return whole(path, *rest, **options)

        monkeypatch.setattr(os, "open", opened)
        command = "compare" if name == "summary.json" else "evaluate"
        refused(command, received, parts=(received / name, "Permission denied"))
        monkeypatch.setattr(os, "open", whole)


def test_two_processes_on_one_folder(received, tmp_path, trained):
    """One trains, and the other says so or comes later; the result is that of one alone."""
    (received / "summary.json").unlink()
    for path in (received / "seed-0").iterdir():
        path.unlink()
    line = [sys.executable, "-m", "gmlayers", "train", "--resume", str(received)]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    for process, err in zip(both, said):
        assert process.returncode == 0 or "is being trained by another process" in err
    assert 0 in [process.returncode for process in both]
    run = run_folder.open_run(received)
    assert same(result(run, received), result(run, trained))
