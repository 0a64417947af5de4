"""A run folder from somebody else may hold links that lead out of it; nothing is written there."""

import os
import shutil

import pytest
from PIL import Image

from gmlayers.experiments import files

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
def image(tmp_path):
    path = tmp_path / "digit.png"
    Image.new("L", (8, 8)).save(path)
    return path


def test_predictions_do_not_go_by_way_of_a_name_that_can_be_foreseen(received, victim, image, call):
    (received / "out.csv.part").symlink_to(victim)
    assert call("predict", received, image, "--out", received / "out.csv")[0] == 0
    assert victim.read_text() == CONTENT
    assert (received / "out.csv").read_text().startswith("input,prediction,probability\n")


@pytest.mark.parametrize("leads", ["to a file", "to nothing"])
@pytest.mark.parametrize("command", ["predict", "compare", "figure", "train"])
def test_a_file_to_be_made_is_not_there_as_a_link_either(received, victim, image, refused, tmp_path, command, leads):
    out = tmp_path / "link.png"
    out.symlink_to(victim if leads == "to a file" else tmp_path / "made")
    arguments = {
        "predict": ["predict", received, image, "--out", out],
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
