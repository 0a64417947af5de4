import os
import stat

import pytest

from gmlayers.experiments import files
from gmlayers.experiments.records import Metrics, write_tensors

CONTENT = "what the user would not lose\n" * 100


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text(CONTENT)
    return path


def test_write_whole_replaces(tmp_path):
    path = tmp_path / "a"
    files.write_whole(path, b"old")
    files.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path, victim):
    (tmp_path / "a").symlink_to(victim)
    files.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()
    assert victim.read_text() == CONTENT


def test_a_new_file_may_be_read_by_whom_the_user_lets(tmp_path):
    """A temporary file of Python's own could be read by its owner alone, and would stay so."""
    files.write_whole(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_nothing_is_left_behind_when_writing_is_stopped(tmp_path, monkeypatch, stop, where):
    def fail(*arguments):
        raise stop

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(files.os, where, fail)
    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        files.write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.write_whole(tmp_path / "none" / "a", b"")
    assert caught.value.filename == str(tmp_path / "none" / "a")


def test_the_folder_is_brought_to_the_disk_after_the_file(tmp_path, monkeypatch):
    """A rename is lost with the power unless its folder is written, too."""
    order, fsync, replace = [], os.fsync, os.replace

    def seen(descriptor):
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(*arguments):
        order.append("rename")
        replace(*arguments)

    monkeypatch.setattr(files.os, "fsync", seen)
    monkeypatch.setattr(files.os, "replace", renamed)
    files.write_whole(tmp_path / "a", b"new")
    assert order == ["file", "rename", "folder"]


def test_a_folder_that_cannot_be_brought_to_the_disk_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", only_files)
    files.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_metrics_are_appended_to_a_file_alone(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(ValueError, match="is a link"):
        Metrics(tmp_path / "link").append({"epoch": 1})
    assert victim.read_text() == CONTENT
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a pipe"):
        Metrics(tmp_path / "pipe").append({"epoch": 1})
    with pytest.raises(ValueError, match="is a pipe"):
        Metrics(tmp_path / "pipe").rows()


def test_tensors_go_by_way_of_the_same_function(tmp_path, victim):
    (tmp_path / "a.safetensors.part").symlink_to(victim)
    write_tensors(tmp_path / "a.safetensors", {}, {})
    assert victim.read_text() == CONTENT


def test_a_downloads_rest_is_no_link(tmp_path, victim):
    (tmp_path / "file.part").symlink_to(victim)
    with pytest.raises(ValueError, match="is a link"):
        files.open_own(tmp_path / "file.part", truncate=True)
    assert victim.read_text() == CONTENT
