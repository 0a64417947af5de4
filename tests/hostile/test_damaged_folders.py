"""Run folders of somebody else, and damaged ones.

A command says in one line what is damaged, or its answer is the undamaged one. Links may lead out of a folder, and
nothing is written there.
"""

import json
import math
import os
import re
import shutil

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gmlayers.cli import main
from gmlayers.experiments import files, records

CONFIG, SUMMARY, METRICS, CHECKPOINT = (
    "config.json",
    "summary.json",
    "seed-0/metrics.jsonl",
    "seed-0/checkpoint.safetensors",
)

READS = [
    *[(command, name) for command in ("evaluate", "predict", "resume") for name in (CHECKPOINT, CHECKPOINT, CONFIG)],
    *[("compare", CONFIG), ("compare", SUMMARY), ("figure", SUMMARY), ("figure", METRICS), ("resume", METRICS)],
]
"""What each command reads. Those that read checkpoints read the most."""

CASES = settings(
    max_examples=110,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SHARE = st.floats(0, 1, exclude_max=True)
VALUES = st.sampled_from(
    [None, True, -1, 0, 1, 2, 3.5, 10**9, 10**30, math.nan, math.inf, "", "2", "fc", [], [0], [[]], {}, {"a": 1}]
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "digit.png"
    Image.new("L", (8, 8), 77).save(path)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a net that is small in every respect."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    small = ["--components", 1, "--epochs", 2, "--batch-size", 500, "--model", "diagonal"]
    main([str(a) for a in ["train", "digits", *small, "--out", folder]])
    return folder


@pytest.fixture
def commands(call, image, tmp_path):
    """What a damaged folder is given to: each is a function of the folder."""

    def resumed(folder):
        answer = call("train", "--resume", folder)
        if answer[0] == 0:
            kept = [(folder / "seed-0" / name).read_bytes() for name in ("metrics.jsonl", "checkpoint.safetensors")]
            return answer[0], str(kept), answer[2]
        return answer

    def drawn(folder):
        (tmp_path / "figure.png").unlink(missing_ok=True)
        return call("compare", folder, "--figure", tmp_path / "figure.png")

    return {
        "evaluate": lambda folder: call("evaluate", folder),
        "predict": lambda folder: call("predict", folder, image),
        "compare": lambda folder: call("compare", folder),
        "figure": drawn,
        "resume": resumed,  # the last one, since it writes
    }


@pytest.fixture
def judged(commands, finished, tmp_path):
    """Damage a copy of the run; see that each command refuses it in a line, or answers as if nothing had been."""
    here = tmp_path / "run"

    def copied():
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(finished, here)

    copied()
    expected = {name: command(here) for name, command in commands.items()}
    assert all(code == 0 for code, _, _ in expected.values()), expected

    def judge(name, damage, *, unchecked=False, signed=False):
        """With ``unchecked`` an answer may be another if a note says so; one that was signed anew may be any."""
        copied()
        damage(here)
        code, out, err = commands[name](here)
        notes = [line for line in err.splitlines() if line.startswith("gmlayers: note: ")]
        lines = [line for line in err.splitlines() if line.startswith("gmlayers: ") and line not in notes]
        assert code in (0, 2), err
        assert "Traceback" not in err
        assert len(lines) == (code == 2), err
        assert not re.match(r"gmlayers: \w+Error: ", "".join(lines))  # which would be an error of another library
        said = unchecked and any("has no checksum" in note or "left out" in note for note in notes)
        assert code == 2 or signed or said or out == expected[name][1], (out, err)

    return judge


@CASES
@given(read=st.sampled_from(READS), at=SHARE, bits=st.integers(1, 255), more=st.integers(0, 3))
def test_bytes_are_flipped(judged, read, at, bits, more):
    command, name = read

    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        for step in range(more + 1):
            content[(int(at * len(content)) + 7 * step) % len(content)] ^= bits
        (folder / name).write_bytes(content)

    judged(command, damage)


@CASES
@given(read=st.sampled_from(READS), share=SHARE, twice=st.booleans())
def test_files_are_cut_or_doubled(judged, read, share, twice):
    command, name = read

    def damage(folder):
        content = (folder / name).read_bytes()
        part = content[: int(share * len(content))]
        (folder / name).write_bytes(content + part if twice else part)

    judged(command, damage)


def places(content, prefix=()):
    """Yield the way to everything in a piece of JSON."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def altered(content, place, value, *, remove):
    """Return a copy of JSON in which one entry is another, or gone."""
    content = json.loads(json.dumps(content))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if remove:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


def opened(path):
    """Return what JSON a file holds, and what writes it again without a checksum, or with that of the new content."""
    if path.suffix == ".json":
        content = records.read_json(path)
        return content, lambda new: path.write_text(json.dumps(new)), lambda new: records.write_json(path, new)
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]

        def write(new):
            path.write_text("".join(json.dumps(row) + "\n" for row in new))

        return rows, write, write
    tensors, about = records.read_tensors(path)
    return (
        about,
        lambda new: path.write_bytes(safetensors.torch.save(tensors, {"gmlayers": json.dumps(new)})),
        lambda new: records.write_tensors(path, tensors, new),
    )


@CASES
@given(read=st.sampled_from(READS), at=SHARE, value=VALUES, remove=st.booleans(), signed=st.booleans())
def test_values_are_replaced_and_keys_removed(judged, read, at, value, remove, signed):
    """By somebody who takes the checksum away, which is said, or who makes a new one, and must keep to the schema."""
    command, name = read

    def damage(folder):
        content, write, write_signed = opened(folder / name)
        every = [*places(content)]
        new = altered(content, every[int(at * len(every))], value, remove=remove)
        (write_signed if signed else write)(new)

    judged(command, damage, unchecked=True, signed=signed)


DTYPES = st.sampled_from([torch.float64, torch.float16, torch.int32, torch.uint8, torch.bool, torch.complex64])
NUMBERS = st.sampled_from([math.nan, math.inf, -1.0, 0.0, 1e30])


@CASES
@given(
    command=st.sampled_from(["evaluate", "predict", "resume"]), at=SHARE, signed=st.booleans(),
    change=st.one_of(DTYPES, NUMBERS, st.sampled_from(["removed", "renamed", "shorter", "flat"])),
)  # fmt: skip
def test_tensors_are_others(judged, command, at, signed, change):
    def damage(folder):
        path = folder / CHECKPOINT
        tensors, about = records.read_tensors(path)
        name = sorted(tensors)[int(at * len(tensors))]
        value = tensors.pop(name)
        if change == "renamed":
            tensors[f"{name}.x"] = value
        elif change == "shorter":
            tensors[name] = value.reshape(-1)[:-1].clone()
        elif change == "flat":
            tensors[name] = value.reshape(-1, 1)
        elif isinstance(change, torch.dtype):
            tensors[name] = value.to(change)
        elif change != "removed":
            tensors[name] = value.clone()
            tensors[name].view(-1)[0] = 7 if value.dtype == torch.uint8 else change
        if signed:
            records.write_tensors(path, tensors, about)
        else:
            path.write_bytes(safetensors.torch.save(tensors, {"gmlayers": json.dumps(about)}))

    judged(command, damage, unchecked=True, signed=signed)


CONTENT = "what the user would not lose\n" * 100


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text(CONTENT)
    return path


@pytest.fixture
def outside(tmp_path):
    """A folder elsewhere, with a file of a name that a run writes."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "metrics.jsonl").write_text(CONTENT)
    return path


@pytest.mark.parametrize("options", [[], ["--batched"], ["--tensorboard"]], ids=["plain", "batched", "tensorboard"])
@pytest.mark.parametrize(
    "name",
    [
        "seed-0/metrics.jsonl",
        "seed-0/checkpoint.safetensors",
        "seed-0/checkpoint.safetensors.part",
        "summary.json",
        "summary.json.part",
        ".lock",
    ],
)
def test_a_run_is_not_continued_through_a_link(received, victim, refused, name, options):
    """The seed is to be trained anew, so that every file of it would be written."""
    shutil.rmtree(received / "seed-0")
    (received / "seed-0").mkdir()
    (received / name).unlink(missing_ok=True)
    (received / name).symlink_to(victim)
    refused("train", "--resume", received, *options, parts=(received / name, "link", victim, "delete it"))
    assert victim.read_text() == CONTENT
    assert (received / name).readlink() == victim


@pytest.mark.parametrize("name", ["seed-0/metrics.jsonl", "seed-0/checkpoint.safetensors", "summary.json", ".lock"])
def test_nor_where_the_link_leads_to_nothing(received, tmp_path, refused, name):
    (received / name).unlink()
    (received / name).symlink_to(tmp_path / "made")
    refused("train", "--resume", received, parts=(received / name, "link"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["seed-0", "seed-0/tensorboard", "seed-0/snapshots"])
def test_a_folder_in_a_run_is_no_link(received, outside, refused, name):
    before = sorted(outside.iterdir())
    shutil.rmtree(received / name, ignore_errors=True)
    (received / name).symlink_to(outside)
    refused("train", "--resume", received, "--tensorboard", parts=(received / name, "link", outside))
    assert sorted(outside.iterdir()) == before
    assert (outside / "metrics.jsonl").read_text() == CONTENT


def test_a_lock_that_is_a_second_name_of_another_file(received, victim, refused):
    """A link of the other kind, which looks like a file: taking the lock would empty it."""
    (received / ".lock").unlink()
    (received / ".lock").hardlink_to(victim)
    refused("train", "--resume", received, parts=(received / ".lock", "delete it"))
    assert victim.read_text() == CONTENT


def test_a_second_name_of_another_file_is_left_behind(received, victim, call):
    shutil.rmtree(received / "seed-0")
    (received / "seed-0").mkdir()
    (received / "seed-0" / "metrics.jsonl").hardlink_to(victim)
    assert call("train", "--resume", received)[0] == 0
    assert victim.read_text() == CONTENT
    assert len((received / "seed-0" / "metrics.jsonl").read_text().splitlines()) == 1


def test_the_folder_itself_may_be_the_users_own_link(received, tmp_path, call):
    (tmp_path / "link").symlink_to(received)
    assert call("train", "--resume", tmp_path / "link")[0] == 0


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "digit.png"
    Image.new("L", (8, 8)).save(path)
    return path


def test_predictions_do_not_go_by_way_of_a_name_that_can_be_foreseen(received, victim, picture, call):
    (received / "out.csv.part").symlink_to(victim)
    assert call("predict", received, picture, "--out", received / "out.csv")[0] == 0
    assert victim.read_text() == CONTENT
    assert (received / "out.csv").read_text().startswith("input,prediction,probability\n")


@pytest.mark.parametrize("leads", ["to a file", "to nothing"])
@pytest.mark.parametrize("command", ["predict", "compare", "figure", "train"])
def test_a_file_to_be_made_is_not_there_as_a_link_either(received, victim, picture, refused, tmp_path, command, leads):
    out = tmp_path / "link.png"
    out.symlink_to(victim if leads == "to a file" else tmp_path / "made")
    arguments = {
        "predict": ["predict", received, picture, "--out", out],
        "compare": ["compare", received, "--out", out],
        "figure": ["compare", received, "--figure", out],
        "train": ["train", "digits", "--epochs", 1, "--width", 8, "--out", out],
    }
    refused(*arguments[command], parts=(out, "exists"))
    assert victim.read_text() == CONTENT
    assert not (tmp_path / "made").exists()


def test_what_a_killed_process_left_is_swept(received, call):
    """Their names are new each time, so that nothing would ever replace them."""
    left = received / "seed-0" / f"{files.TEMPORARY}0123"
    left.write_bytes(b"half a checkpoint")
    assert call("train", "--resume", received)[0] == 0
    assert not left.exists()


def test_a_pipe_in_a_run_is_refused(received, refused):
    (received / "seed-0" / "metrics.jsonl").unlink()
    os.mkfifo(received / "seed-0" / "metrics.jsonl")
    refused("train", "--resume", received, parts=("seed-0/metrics.jsonl", "pipe"))
