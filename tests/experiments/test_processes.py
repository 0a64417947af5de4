"""Training on several processes, and steps in several parts: all give what one process gives in one part."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gmlayers.experiments.data import load
from gmlayers.experiments.models import Recipe, Shape
from gmlayers.experiments.processes import ALONE, One, parts, together, wanted_precision
from gmlayers.experiments.train_command import How, train
from gmlayers.experiments.trainer import Trainer, Trial

RECIPE = Recipe(epochs=3, batch_size=100, input_dropout=0.2, optimizer="adamw", weight_decay=0.05)
"""The last step of an epoch of digits has 37 rows."""


class Others(One):
    """One of several, none of which is there."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count


def trial(**changes: object) -> Trial:
    recipe = Recipe(**{**vars(RECIPE), **changes})  # type: ignore[arg-type]
    return Trial("low_rank", Shape(width=20), recipe, seed=3)


def curve(trainer: Trainer) -> torch.Tensor:
    rows = list(trainer.run())
    return torch.tensor([[row["train_loss"], row["test_error"]] for row in rows], dtype=torch.float64)


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 9))
def test_parts_are_the_rows_once(rows: int, count: int, steps: int) -> None:
    seen, shares = [], 0.0
    for rank in range(count):
        own = parts(rows, Others(rank, count), steps)
        assert len(own) == steps
        for part in own:
            there = range(rows)[part.rows]
            assert len(there) >= 1
            assert part.share == (len(there) / rows if part.share else 0)
            seen += [*there] if part.share else []
            shares += part.share
    assert seen == [*range(rows)]
    assert shares == pytest.approx(1)


def test_one_part_is_the_whole_batch_to_the_bit() -> None:
    assert parts(37, ALONE, 1) == [(slice(0, 37), 1.0)]


@pytest.mark.parametrize("steps", [2, 3, 50])  # 50 parts of 37 rows: some are empty
def test_steps_in_parts_are_steps(steps: int) -> None:
    data = load("digits")
    whole, divided = Trainer(trial(), data), Trainer(trial(), data, accumulate=steps)
    torch.testing.assert_close(curve(divided), curve(whole), rtol=1e-4, atol=1e-2)
    for one, other in zip(whole.model.parameters(), divided.model.parameters()):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def numbers(folder: Path) -> Path:
    """Write a table whose target is a number."""
    x = torch.randn(333, 4, generator=torch.Generator().manual_seed(0))
    lines = ["a,b,c,d,y", *(",".join(f"{v:.4f}" for v in [*row, row.sum().sin()]) for row in x)]
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def processes(rank: int, port: int, folder: str, source: str) -> None:
    """Train two epochs of three in one of two processes."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with together("cpu") as all_of_them:
        assert (all_of_them.rank, all_of_them.count) == (rank, 2)
        trainer = Trainer(trial(), load(source), Path(folder), processes=all_of_them, accumulate=2)
        run = trainer.run()
        for _ in range(2):
            row = next(run)
        (Path(folder).parent / f"rows-{rank}.json").write_text(json.dumps(row))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("source", ["digits", "numbers"])
def test_two_processes_train_as_one_and_one_goes_on(tmp_path: Path, source: str) -> None:
    source = str(numbers(tmp_path)) if source == "numbers" else source
    (tmp_path / "run").mkdir()
    mp.spawn(processes, (_port(), str(tmp_path / "run"), source), 2)
    one, other = (json.loads((tmp_path / f"rows-{rank}.json").read_text()) for rank in range(2))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}  # both know what all have found
    data = load(source)
    whole = Trainer(trial(), data)
    wanted = list(whole.run())
    resumed = Trainer(trial(), data, tmp_path / "run")
    assert resumed.epoch == 2
    list(resumed.run())
    for found, row in zip(resumed.rows(), wanted):
        assert found["train_loss"] == pytest.approx(row["train_loss"], rel=1e-4)
        assert found[whole.metric] == pytest.approx(row[whole.metric], abs=0.01)
        assert found["lr"] == row["lr"]
    for got, parameter in zip(resumed.model.parameters(), whole.model.parameters()):
        torch.testing.assert_close(got, parameter, rtol=1e-3, atol=1e-4)


def test_accelerate_launches_the_command(tmp_path: Path) -> None:
    out, port = tmp_path / "run", str(_port())
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--mixed_precision", "bf16"]
    command += ["-m", "gmlayers", "train", "digits", "--epochs", "2", "--threads", "1", "--out", str(out)]
    own = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    (first, errors), (second, _) = (process.communicate(timeout=120) for process in started)
    assert [process.returncode for process in started] == [0, 0], errors
    assert f"Everything stands in {out}" in first
    assert not second
    assert json.loads((out / "config.json").read_text())["recipe"]["precision"] == "bfloat16"
    assert len((out / "seed-0" / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((out / "summary.json").read_text())


def _port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def test_products_of_a_step_are_in_the_precision_and_judgement_is_not() -> None:
    data, seen = load("digits"), []
    made = Trainer(Trial("fc", Shape(width=20), Recipe(epochs=1, precision="bfloat16")), data)
    (linear,) = [m for m in made.model.modules() if isinstance(m, nn.Linear) and m.out_features == 20]
    linear.register_forward_hook(lambda module, _, y: seen.append((module.training, y.dtype)))
    row = next(made.run())
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    exact = next(Trainer(Trial("fc", Shape(width=20), Recipe(epochs=1)), data).run())
    assert row["train_loss"] != exact["train_loss"]
    assert row["train_loss"] == pytest.approx(exact["train_loss"], rel=0.02)
    assert all(p.dtype == torch.float32 for p in made.model.parameters())


def launch(monkeypatch: pytest.MonkeyPatch, **own: str) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", **own}.items():
        monkeypatch.setenv(name, value)


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match="they need accelerate; pip install"), together("cpu"):
        pass


@pytest.mark.parametrize(("name", "what"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")])
def test_sharding_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, what: str) -> None:
    launch(monkeypatch, **{f"ACCELERATE_USE_{name}": "true"})
    with (
        pytest.raises(ValueError, match=f"accelerate was told to shard by {what}, .* launch without it"),
        together("cpu"),
    ):
        pass


def test_one_process_of_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, WORLD_SIZE="1")
    with together("cpu") as processes:
        assert processes is ALONE


def test_the_precision_of_accelerate_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert wanted_precision() is None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ValueError, match="accelerate was told to compute in bfloat16, and the run is in float32"):
        train("digits", recipe=_changes("float32"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ValueError, match="losses that are scaled; launch with --mixed_precision bf16, or no"):
        train("digits", out=tmp_path / "run")


def _changes(precision: str) -> object:
    from gmlayers.experiments.train_command import Changes

    return Changes(precision=precision)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"accumulate": 0}, "--accumulate must be at least 1, got 0"),
        ({"batched": True, "processes": Others(0, 2)}, "--batched is for one process, and 2 were launched; omit it"),
        ({"compiled": True, "processes": Others(0, 2)}, "--compiled is for one process, and 2 were launched"),
        ({"batched": True, "accumulate": 2}, "--batched takes a step in one part; omit --accumulate"),
    ],
)
def test_what_does_not_go_together(how: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        How(**how)  # type: ignore[arg-type]


def test_a_resumed_run_repeats_its_options() -> None:
    assert How(compiled=True, accumulate=3).options == " --compiled --accumulate 3"
    assert How().options == ""
