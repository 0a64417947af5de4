"""The commands as their users meet them."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from PIL import Image

from gmlayers.cli import main
from gmlayers.experiments import records, run_folder, train_command
from gmlayers.experiments.models import MODELS
from gmlayers.experiments.records import read_tensors
from gmlayers.experiments.trainer import Trainer
from gmlayers.functional import ACTIVATIONS

FAST = ["--epochs", "2", "--width", "16"]


def call(capsys, *arguments):
    """Run a command in this process; return exit code, output, errors."""
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def spawn(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "gmlayers", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def refused(result, *parts):
    """Exit code 2, one line, no traceback, and the line says all of it."""
    code, _, err = result
    assert code == 2
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("gmlayers: ")
    for part in parts:
        assert part in err


@pytest.fixture
def run(tmp_path, capsys):
    folder = tmp_path / "run"
    assert call(capsys, "train", "digits", *FAST, "--seeds", 0, 1, "--out", folder)[0] == 0
    return folder


# --- the commands --------------------------------------------------------------------------------------------


def test_list_names_everything(capsys):
    code, out, _ = call(capsys, "list")
    assert code == 0
    for name in [*MODELS, *ACTIVATIONS, "digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "fig2", "adam"]:
        assert name in out


@pytest.mark.parametrize("command", [[], ["demo"], ["train"], ["evaluate"], ["compare"], ["predict"], ["list"]])
def test_help(capsys, command):
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5


def test_help_of_train_shows_examples_and_no_types_of_python(capsys):
    _, out, _ = call(capsys, "train", "--help")
    assert "gmlayers train mnist --model diagonal --seeds 0 1 2 3 4" in out
    assert "None" not in out


def test_train_leaves_a_complete_run_folder(run, capsys):
    assert {p.name for p in run.iterdir() if p.name != ".lock"} == {
        "config.json",
        "environment.json",
        "summary.json",
        "seed-0",
        "seed-1",
    }
    assert {p.name for p in (run / "seed-0").iterdir()} == {"metrics.jsonl", "checkpoint.safetensors"}
    rows = [json.loads(line) for line in (run / "seed-0" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1].keys() == {"epoch", "step", "train_loss", "test_error", "lr", "seconds"}
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["epochs"] == 2
    assert config["seeds"] == [0, 1]


def test_evaluate_agrees_with_the_record(run, capsys):
    code, out, _ = call(capsys, "evaluate", run)
    summary = json.loads((run / "summary.json").read_text())["trials"]
    assert code == 0
    for row in summary:
        assert f"{100 * row['test_error']:.2f} %" in out
    assert "360 test rows" in out


def test_compare_sorts_by_result_and_writes_files(run, tmp_path, capsys):
    other, table, figure = tmp_path / "longer", tmp_path / "all.csv", tmp_path / "all.png"
    call(capsys, "train", "digits", "--epochs", 12, "--width", 16, "--out", other)
    code, out, _ = call(capsys, "compare", run, other, "--out", table, "--figure", figure)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "low_rank" in line] == ["longer", "run"]
    assert pd.read_csv(table)[["run", "seed"]].to_numpy().tolist() == [["run", 0], ["run", 1], ["longer", 0]]
    with Image.open(figure) as picture:
        assert picture.width > 500
    refused(call(capsys, "compare", run, "--out", table), "exists")
    refused(call(capsys, "compare", run, "--figure", figure), "exists")


def test_compare_has_a_table_for_each_data_set_and_task(run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{n},{n / 7}\n" for n in range(40)))
    for name, *options in (("small",), ("same",), ("other", "--target", "a"), ("held", "--validate")):
        options = [*options, "--epochs", 1, "--width", 1, "--out", tmp_path / name]
        assert call(capsys, "train", tmp_path / "t.csv", "--task", "regression", *options)[0] == 0
    runs = [run, *(tmp_path / name for name in ("small", "other", "same", "held"))]
    code, out, _ = call(capsys, "compare", *runs, "--out", tmp_path / "all.csv")
    assert code == 0
    titles = [line for line in out.splitlines() if "the best first" in line]
    assert titles == [
        "1 run on digits by test error; the best first, seconds are per seed",
        f"2 runs on {tmp_path / 't.csv'} by test rmse; the best first, seconds are per seed",
        f"1 run on {tmp_path / 't.csv'}, target a by test rmse; the best first, seconds are per seed",
        f"1 run on {tmp_path / 't.csv'} by validation rmse; the best first, seconds are per seed",
    ]
    order = [line.split()[0] for line in out.splitlines() if "low_rank" in line]
    assert [order[0], set(order[1:3]), *order[3:]] == ["run", {"small", "same"}, "other", "held"]
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame.groupby(["checksum", "metric"], sort=False)["run"].agg(set).tolist() == [
        {"run"}, {"small", "same"}, {"other"}, {"held"},
    ]  # fmt: skip
    assert set(frame["data"]) == {"digits", str(tmp_path / "t.csv")}
    files = ["--out", tmp_path / "more.csv", "--figure", tmp_path / "more.png"]
    code, out, err = call(capsys, "compare", *runs, *files)
    refused((code, out, err), "--figure draws runs on the same data that are judged alike, got 4 kinds", "small, same")
    assert out == ""
    assert not (tmp_path / "more.csv").exists()
    assert call(capsys, "compare", tmp_path / "small", tmp_path / "same", *files)[0] == 0


def test_compare_keeps_runs_of_one_name_apart(run, tmp_path, capsys):
    for place, value in (("a", 0.5), ("b", 0.75), ("c", 0.25)):
        (folder := tmp_path / place / "run").parent.mkdir()
        shutil.copytree(run, folder)
        trials = json.loads((folder / "summary.json").read_text())["trials"]
        trials = [trial | {"test_error": value} for trial in trials]
        (folder / "summary.json").write_text(json.dumps({"trials": trials}))
    runs = [tmp_path / place / "run" for place in "abc"]
    code, out, _ = call(capsys, "compare", *runs, "--out", tmp_path / "all.csv", "--figure", tmp_path / "all.png")
    assert code == 0
    order = pd.read_csv(tmp_path / "all.csv")["run"].unique().tolist()
    assert order == ["a/run", "b/run", "c/run"]
    assert [line.split()[0] for line in out.splitlines() if "low_rank" in line] == ["c/run", "a/run", "b/run"]


def test_compare_leaves_out_what_is_no_finished_run(run, tmp_path, capsys):
    (tmp_path / "demo").mkdir()
    half = tmp_path / "half"
    call(capsys, "train", "digits", *FAST, "--out", half)
    (half / "summary.json").unlink()
    code, out, err = call(capsys, "compare", run, tmp_path / "demo", half)
    assert code == 0
    assert "1 run on" in out
    assert f"{tmp_path / 'demo'} is no run of `gmlayers train`; left out" in err
    assert f"{half} is not finished (gmlayers train --resume {half}); left out" in err
    code, _, err = call(capsys, "compare", half)
    assert code == 2
    assert err.strip().endswith("compare: give at least one finished run")


def test_predict_images(run, tmp_path, capsys):
    array = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(array).save(tmp_path / "a.png")
    code, out, _ = call(capsys, "predict", run, tmp_path / "a.png", tmp_path / "a.png")
    assert code == 0
    header, first, second = out.splitlines()
    assert header == "input,prediction,probability"
    assert first == second
    name, label, probability = first.split(",")
    assert name == str(tmp_path / "a.png")
    assert label in "0123456789"
    assert 0.1 <= float(probability) <= 1


def test_an_image_of_another_size_is_resized_with_a_note(run, tmp_path):
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "big.png")
    process = spawn("predict", run, tmp_path / "big.png")
    out, err = process.communicate()
    assert process.returncode == 0
    assert out.splitlines()[1].startswith(f"{tmp_path / 'big.png'},")
    assert err == f"gmlayers: note: {tmp_path / 'big.png'}: resized from 16 x 16 to 8 x 8 (width x height)\n"


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_table_from_file_to_prediction(tmp_path, capsys, task):
    g = np.random.default_rng(0)
    frame = pd.DataFrame(g.normal(size=(120, 2)), columns=["height", "weight"])
    frame["answer"] = frame["height"] + 2 * frame["weight"]
    if task == "classification":
        frame["answer"] = np.where(frame["answer"] > 0, "up", "down")
    frame.to_csv(tmp_path / "table.csv", index=False)
    code, _, err = call(
        capsys, "train", tmp_path / "table.csv", "--target", "answer", "--out", tmp_path / "run",
        "--epochs", 60, "--width", 16, "--input-dropout", 0, "--lr", 0.02, "--batch-size", 16,
    )  # fmt: skip
    assert code == 0, err
    new = pd.DataFrame({"weight": [3.0, -3.0], "colour": ["red", "blue"], "height": [0.0, 0.0]})
    new.to_csv(tmp_path / "new.csv", index=False)
    code, _, err = call(capsys, "predict", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "answer.csv")
    assert code == 0, err
    answer = pd.read_csv(tmp_path / "answer.csv")
    assert answer["input"].tolist() == [f"{tmp_path / 'new.csv'}: row {row}" for row in (1, 2)]
    if task == "classification":
        assert answer["prediction"].tolist() == ["up", "down"]
    else:
        assert answer["prediction"].to_numpy() == pytest.approx([6, -6], abs=2)


@pytest.mark.parametrize(("option", "notes"), [("--task", 0), ("--kind", 1)])
def test_what_the_target_is_can_be_said(tmp_path, capsys, option, notes):
    pd.DataFrame({"a": range(40), "b": [0, 1] * 20}).to_csv(tmp_path / "t.csv", index=False)
    options = [option, "regression", "--epochs", 1, "--width", 1, "--out", tmp_path / "run"]
    code, out, err = call(capsys, "train", tmp_path / "t.csv", *options)
    assert code == 0, err
    assert "rmse" in out
    assert err.count("gmlayers: note: --kind is deprecated; its name is now --task\n") == notes


def test_every_command_says_how_it_understood_a_table(tmp_path, capsys):
    table, new = tmp_path / "t.csv", tmp_path / "new.csv"
    table.write_text("a;b;price\n" + "".join(f"{n};5;1.{n % 1000:03} €\n" for n in range(40)))
    refused(call(capsys, "train", table, "--out", tmp_path / "run"), "'1.000 €' may be 1 or 1000", "--decimal comma")
    train = ["train", table, "--decimal", "comma", "--epochs", 1, "--width", 1, "--out", tmp_path / "run"]
    line = (
        f"gmlayers: note: {table}: 40 rows separated by semicolons. Features (2): a, b. Read as numbers: price "
        "('1.000 €' is 1000). The same in every row: b. Target: price, "
    )
    code, _, err = call(capsys, *train)
    assert code == 0, err
    assert err.count(line) == 1
    for command in (["evaluate", tmp_path / "run"], ["train", "--resume", tmp_path / "run"]):
        code, _, err = call(capsys, *command)
        assert code == 0, err
        assert err.count(line + "a number from 1000 to 1039") == 1
    new.write_text("b;c;a\n5;x;1.234\n")
    code, out, err = call(capsys, "predict", tmp_path / "run", new)
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == (
        f"gmlayers: note: {new}: 1 rows separated by semicolons. Features (2): a, b. Ignored (1): c. Read as numbers: "
        "a ('1.234' is 1234)\n"
    )
    refused(call(capsys, "predict", tmp_path / "run", new, "--decimal", "auto"), "'1.234' may be 1.234 or 1234")
    assert "1.234" not in call(capsys, "predict", tmp_path / "run", new, "--decimal", "point")[2]


def test_a_run_of_before_is_not_asked_what_it_understood(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{n},{n % 20}\n" for n in range(40)))
    out = tmp_path / "run"
    refused(call(capsys, "train", tmp_path / "t.csv", "--out", out), "20 different values in 40 rows")
    options = ["--task", "classification", "--epochs", 1, "--width", 1, "--out", out]
    assert call(capsys, "train", tmp_path / "t.csv", *options)[0] == 0
    config = json.loads((out / "config.json").read_text())
    del config["decimal"], config["checksum"]  # as it was written before
    (out / "config.json").write_text(json.dumps(config | {"kind": "auto"}))
    code, _, err = call(capsys, "evaluate", out)
    assert code == 0, err


def test_tensorboard_logs(tmp_path, capsys):
    code, _, err = call(capsys, "train", "digits", *FAST, "--tensorboard", "--out", tmp_path / "run")
    assert code == 0, err
    assert list((tmp_path / "run" / "seed-0" / "tensorboard").glob("events.*"))


# --- stopping and going on -----------------------------------------------------------------------------------


def wait_for_epochs(process, metrics, epochs):
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= epochs):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def record(folder):
    rows = [json.loads(line) for line in (folder / "seed-0" / "metrics.jsonl").read_text().splitlines()]
    tensors, metadata = read_tensors(folder / "seed-0" / "checkpoint.safetensors")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows], tensors, metadata


def test_kill_and_resume_gives_the_same_bits(tmp_path, capsys):
    options = ["digits", "--epochs", 25, "--width", 64, "--threads", 1]
    assert call(capsys, "train", *options, "--out", tmp_path / "whole")[0] == 0
    process = spawn("train", *options, "--out", tmp_path / "killed")
    wait_for_epochs(process, tmp_path / "killed" / "seed-0" / "metrics.jsonl", 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "summary.json").exists()
    process = spawn("train", "--resume", tmp_path / "killed")
    _, err = process.communicate()
    assert process.returncode == 0, err
    rows, tensors, metadata = record(tmp_path / "whole")
    rows_again, tensors_again, metadata_again = record(tmp_path / "killed")
    assert rows == rows_again
    assert len(rows) == 25
    assert all(torch.equal(tensors[name], tensors_again[name]) for name in tensors | tensors_again)
    for name in ("metrics_size", "metrics"):  # of records, in which the seconds stand
        metadata.pop(name), metadata_again.pop(name)
    assert metadata == metadata_again


def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = spawn("train", "digits", "--epochs", 2000, "--out", tmp_path / "run")
    wait_for_epochs(process, tmp_path / "run" / "seed-0" / "metrics.jsonl", 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"continue with: gmlayers train --resume {tmp_path / 'run'}" in " ".join(err.split())


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, MemoryError])
@pytest.mark.parametrize("place", ["in training", "elsewhere"])
def test_an_interrupt_that_comes_out_as_another_error_is_an_interrupt(run, capsys, monkeypatch, error, place):
    def interrupted(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            raise error("cannot let go")

    monkeypatch.setattr(train_command, "_one_by_one" if place == "in training" else "report", interrupted)
    code, _, err = call(capsys, "train", "--resume", run)
    hint = f" continue with: gmlayers train --resume {run}" if place == "in training" else ""
    assert (code, err) == (130, f"gmlayers: interrupted; nothing already written is lost.{hint}\n")


def test_a_full_disk_ends_in_one_line(tmp_path):
    """A limit on the size of files stands for the disk: checkpoints do not fit, metrics do."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = spawn("train", "digits", "--epochs", 2, "--out", tmp_path / "run", preexec_fn=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("gmlayers: ")
    assert "nothing already written is lost" in last
    assert not list(tmp_path.rglob("*.part"))


def test_seeds_trained_at_once_leave_the_same_folder(run, tmp_path, capsys):
    folder = tmp_path / "batched"
    options = ["digits", *FAST, "--seeds", 0, 1, "--batched", "--tensorboard", "--out", folder]
    code, out, err = call(capsys, "train", *options)
    assert code == 0, err
    assert "mean ± std" in out
    assert "low_rank seed 1  epoch 2/2  loss" in err
    for name in ("config.json", "environment.json"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    for seed in ("seed-0", "seed-1"):
        assert list((folder / seed / "tensorboard").glob("events.*"))
        expected, _ = read_tensors(run / seed / "checkpoint.safetensors")
        tensors, _ = read_tensors(folder / seed / "checkpoint.safetensors")
        torch.testing.assert_close(tensors, expected, rtol=1e-4, atol=1e-5)
    (folder / "seed-1" / "checkpoint.safetensors").unlink()  # as if killed in the first epoch
    (folder / "seed-1" / "metrics.jsonl").write_text("")
    code, again, err = call(capsys, "train", "--resume", folder, "--batched")
    assert code == 0, err
    assert again.splitlines()[0] == out.splitlines()[0]
    assert call(capsys, "evaluate", folder)[0] == 0


def test_ctrl_c_names_the_option_that_continues_at_once(tmp_path):
    process = spawn("train", "digits", "--epochs", 2000, "--seeds", 0, 1, "--batched", "--out", tmp_path / "run")
    wait_for_epochs(process, tmp_path / "run" / "seed-1" / "metrics.jsonl", 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"continue with: gmlayers train --resume {tmp_path / 'run'} --batched" in " ".join(err.split())


def test_output_to_a_closed_pipe_is_no_error():
    process = subprocess.run(
        f"{sys.executable} -m gmlayers list | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert process.stderr == ""


# --- bad input -----------------------------------------------------------------------------------------------


def test_unknown_command(capsys):
    refused(call(capsys, "trian", "mnist"), "unknown command 'trian'; did you mean 'train'? known: ", " compare, demo")


def test_nothing_to_train_on(capsys):
    refused(call(capsys, "train"), "what to train on?")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["minst"], ["unknown data set 'minst'", "did you mean 'mnist'"]),
        (["digits", "--model", "lowrank"], ["unknown model 'lowrank'", "did you mean 'low_rank'"]),
        (["digits", "--activation", "rellu"], ["unknown activation 'rellu'", "did you mean 'relu'"]),
        (["digits", "--model", "fc", "--activation", "sin"], ["unknown activation for a fully connected net 'sin'"]),
        (["digits", "--components", "0"], ["num_components must be at least 1, got 0"]),
        (["digits", "--width", "0"], ["width must be at least 1, got 0"]),
        (["digits", "--epochs", "0"], ["epochs must be at least 1, got 0"]),
        (["digits", "--model", "fc", "--rank", "3"], ["rank has no effect on fc"]),
        (["digits", "--seeds", "1", "99999999999999999999"], ["a seed must lie in", "99999999999999999999"]),
        (["digits", "--seeds", "1", "1"], ["seeds must be different numbers, got 1, 1"]),
        (["digits", "--device", "tpu"], ["device"]),
        (["digits", "--threads", "0"], ["--threads must be at least 1, and at most", "as there are cores, got 0"]),
        (["digits", "--threads", "1000000"], ["at most", "as there are cores, got 1000000"]),
        (["digits", "--width", "99999999999"], ["not enough memory", "memory"]),
        (["--resume", "somewhere", "--epochs", "3"], ["--resume takes everything from the folder"]),
        (["digits", "--lr", "1e30", "--optimizer", "sgd"], ["stopped at step", "try a smaller --lr"]),
        (["digits", "--lr", "1e30", "--optimizer", "sgd", "--seeds", "4", "5", "--batched"], ["(seed 4)", "(seed 5)"]),
        (["digits", "--resume", "somewhere"], ["--resume takes everything from the folder"]),
    ],
)  # fmt: skip
def test_bad_arguments_of_train(capsys, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "train", *arguments)
    refused((code, "", err.strip().splitlines()[-1] if "--lr" in arguments else err), *parts)
    if "--lr" not in arguments:
        assert not list(tmp_path.iterdir())  # refused before anything was written


def test_compiling_without_a_compiler_leaves_no_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    out = tmp_path / "out"
    refused(call(capsys, "train", "digits", "--compiled", "--out", out), "needs a C++ compiler")
    assert not out.exists()


def test_an_output_folder_that_exists(run, capsys):
    before = (run / "config.json").read_bytes()
    refused(call(capsys, "train", "digits", "--out", run), f"{run} exists", f"gmlayers train --resume {run}")
    assert (run / "config.json").read_bytes() == before


def test_two_processes_cannot_train_one_run(run, capsys):
    with FileLock(run / ".lock"):
        refused(call(capsys, "train", "--resume", run), "is being trained by another process")


def test_a_run_folder_is_there_with_its_configuration_or_not_at_all(tmp_path, capsys, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_json", full)
    refused(call(capsys, "train", "digits", *FAST, "--out", tmp_path / "run"), "No space left")
    assert not list(tmp_path.iterdir())


def test_a_run_finds_its_data_from_everywhere(tmp_path, capsys, monkeypatch):
    pd.DataFrame({"a": range(40), "b": [0, 1] * 20}).to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "train", "t.csv", "--epochs", 1, "--out", "run")[0] == 0
    monkeypatch.chdir("/")
    assert call(capsys, "evaluate", tmp_path / "run")[0] == 0


def test_a_run_of_a_larger_machine_continues_with_the_cores_of_this_one(run, capsys):
    """Its folder may come from somebody else, and a million threads would end the process."""
    path = run / "config.json"
    records.write_json(path, {**records.read_json(path), "threads": 1_000_000})
    code, _, err = call(capsys, "train", "--resume", run)
    assert code == 0, err
    assert "1,000,000 threads are asked for, and there are" in err
    assert torch.get_num_threads() <= (os.cpu_count() or 1)


def test_an_unfinished_model_says_so(run, capsys):
    config = run_folder.open_run(run)
    (run / "seed-1" / "checkpoint.safetensors").unlink()
    (run / "seed-1" / "metrics.jsonl").unlink()
    next(Trainer(config.trial(1), config.load(), run / "seed-1").run())
    code, _, err = call(capsys, "evaluate", run)
    assert code == 0
    assert "seed-1 is not finished: epoch 1 of 2" in err


def test_batch_size_decides_the_epochs_of_few_rows(tmp_path, capsys):
    pd.DataFrame({"a": range(40), "b": [0, 1] * 20}).to_csv(tmp_path / "t.csv", index=False)
    call(capsys, "train", tmp_path / "t.csv", "--batch-size", 16, "--width", 1, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["epochs"] == 2500  # 5000 steps of 2 an epoch


def test_resume_of_what_is_no_run(tmp_path, capsys):
    refused(call(capsys, "train", "--resume", tmp_path / "nowhere"), "config.json is not there")


@pytest.mark.parametrize("command", [("evaluate",), ("train", "--resume")])
def test_a_file_is_no_run(command, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    refused(call(capsys, *command, tmp_path / "t.csv"), "is not there; expected the folder of a run made by")


def test_damaged_runs(run, capsys):
    path = run / "config.json"
    config = records.read_json(path)
    for damaged, part in (
        ({**config, "format": 99}, "not of format 1"),
        ({k: v for k, v in config.items() if k != "seeds"}, "expected the fields"),
        ({**config, "shape": {"widht": 3}}, "expected the fields"),
        ({**config, "fingerprint": "0"}, "has changed since the run started"),
        ({**config, "seeds": []}, "seeds must be different numbers, got none"),
        (
            {**config, "recipe": {**config["recipe"], "epochs": 9}},
            "with recipe.epochs 2 where the configuration says 9",
        ),
    ):
        records.write_json(path, damaged)
        refused(call(capsys, "evaluate", run), part)
    records.write_json(path, config)
    text = path.read_text()
    path.write_text(text[:-20])
    refused(call(capsys, "evaluate", run), "is not valid JSON")
    path.write_text(text.replace('"seeds": [\n    0,', '"seeds": [\n    1,').replace("\n    1\n", "\n    0\n"))
    for command in (["evaluate", run], ["train", "--resume", run], ["compare", run]):
        refused(call(capsys, *command), f"{path} does not have the checksum that it states", 'take the line "checksum"')


def test_a_run_that_was_edited_and_says_so_is_used_with_one_note(run, capsys):
    whole = call(capsys, "evaluate", run)
    for path in run.rglob("*.json"):
        content = json.loads(path.read_text())
        del content["checksum"]
        path.write_text(json.dumps(content))
    code, out, err = call(capsys, "evaluate", run)
    assert (code, out) == whole[:2]
    (note,) = err.splitlines()
    assert note.startswith(f"gmlayers: note: {run / 'config.json'} has no checksum, as files of older versions")
    other = call(capsys, "compare", run, run)
    assert other[0] == 0
    assert other[2] == f"{note}\n"


def test_checkpoint_of_another_model(run, tmp_path, capsys):
    other = tmp_path / "other"
    call(capsys, "train", "digits", "--epochs", 2, "--width", 32, "--out", other)
    (other / "seed-0" / "checkpoint.safetensors").replace(run / "seed-0" / "checkpoint.safetensors")
    refused(call(capsys, "evaluate", run), "belongs to another trial, with shape.width 32", "says 16")


def test_truncated_checkpoint(run, capsys):
    path = run / "seed-1" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(call(capsys, "evaluate", run), "not a whole checkpoint")
    refused(call(capsys, "train", "--resume", run), "not a whole checkpoint")


def test_bad_files_to_predict(run, tmp_path, capsys):
    (tmp_path / "no.png").write_text("no image")
    refused(call(capsys, "predict", run, tmp_path / "no.png"), "no.png")
    refused(call(capsys, "predict", run, tmp_path / "missing.png"), "missing.png")
    refused(call(capsys, "predict", run, tmp_path / "no.png", "--seed", 9), "seed 9 is not in the run; it has 0, 1")
    (tmp_path / "out.csv").write_text("precious")
    refused(call(capsys, "predict", run, tmp_path / "no.png", "--out", tmp_path / "out.csv"), "exists")
    assert (tmp_path / "out.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("a,b\n1,2\n3,x\n" + "4,5\n" * 20, ["--target", "a"], ["b", "line 3", "'x'"]),
        ("a,b\n1,2\n3\n" + "4,5\n" * 20, [], ["line 3", "2", "1"]),
        ("a,b\n1,2\n,4\n" + "4,5\n" * 20, [], ["line 3", "a"]),
        ("height,b\n" + "4,5\n" * 20, ["--target", "hight"], ["hight", "did you mean 'height'"]),
    ],
)
def test_bad_tables(tmp_path, capsys, text, options, parts):
    (tmp_path / "t.csv").write_text(text)
    refused(call(capsys, "train", tmp_path / "t.csv", "--out", tmp_path / "run", *options), *parts)
    assert not (tmp_path / "run").exists()


def test_a_lack_of_memory_is_said_in_words(monkeypatch, capsys):
    """Torch speaks of its allocator, as it does for `gmlayers train digits --width 1000000000`."""
    words = (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. can't allocate memory: you tried to allocate 256000000000 bytes."
    )

    def fail(_):
        raise RuntimeError(words)

    monkeypatch.setattr("gmlayers.cli._run", fail)
    with pytest.raises(SystemExit) as left:
        main(["train", "digits"])
    assert left.value.code == 2
    assert (
        capsys.readouterr().err == "gmlayers: not enough memory: 256.0 GB were needed at once; choose smaller sizes\n"
    )
