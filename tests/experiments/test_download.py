"""Downloads: verified, continued after an interruption, and clear about what failed."""

from __future__ import annotations

import _thread
import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from gmlayers.experiments import _download
from gmlayers.experiments._download import CHUNK, Remote, fetch, obtain, provided

CONTENT = np.random.default_rng(0).bytes(5 * CHUNK + 123)
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """How the server answers, and the Range headers that it was asked with."""

    content: bytes = CONTENT
    status: int | None = None
    ranges: bool = True
    shifted: bool = False  # answers 206 with bytes of another place
    cuts: list[int] = field(default_factory=list)  # bytes sent before the connection is cut, per answer
    interrupts: Path | None = None  # raises Ctrl-C in the main thread once this file has begun
    seen: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Serves one file as the ``Behaviour`` of the server says."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        behaviour = self.server.behaviours[self.path.split("/")[1]]
        asked = self.headers.get("Range")
        behaviour.seen.append(asked)
        if behaviour.status is not None:
            self.send_error(behaviour.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.ranges else 0
        size = len(behaviour.content)
        if start and start >= size:
            self.send_error(416)
            return
        if start and behaviour.shifted:
            start += 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        body = behaviour.content[start:]
        if behaviour.interrupts is not None:
            self.wfile.write(body[: 2 * CHUNK])
            self.interrupt(behaviour.interrupts)
            behaviour.interrupts, body = None, body[2 * CHUNK : 3 * CHUNK]
        elif behaviour.cuts:
            body = body[: behaviour.cuts.pop(0)]
        self.wfile.write(body)

    def interrupt(self, part: Path) -> None:
        deadline = time.monotonic() + 5
        while not (part.exists() and part.stat().st_size >= CHUNK) and time.monotonic() < deadline:
            time.sleep(0.005)
        _thread.interrupt_main()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


class Server(ThreadingHTTPServer):
    """A server whose mirrors, the first part of the path, behave differently."""

    behaviours: dict[str, Behaviour]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""

    def remote(self, **behaviours: Behaviour) -> Remote:
        """The file on one mirror per behaviour, in that order."""
        self.behaviours = behaviours
        mirrors = tuple(f"http://127.0.0.1:{self.server_port}/{name}" for name in behaviours)
        return Remote("file.bin", MD5, mirrors, ("somewhere", "."))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as instance:
        thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("GMLAYERS_DATA", raising=False)
    caplog.set_level(logging.ERROR, logger="pooch")


def offset(asked: str | None) -> int:
    assert asked is not None
    return int(asked.removeprefix("bytes=").removesuffix("-"))


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    behaviour = Behaviour()
    remote = server.remote(a=behaviour)
    path = fetch(remote, tmp_path / "new")
    assert path == tmp_path / "new" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(remote, tmp_path / "new") == path
    assert behaviour.seen == [None]
    assert not list(tmp_path.rglob("*.part"))


def test_a_spoilt_file_in_the_cache_is_downloaded_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    assert fetch(server.remote(a=Behaviour()), tmp_path).read_bytes() == CONTENT


def test_a_cut_connection_is_continued(server: Server, tmp_path: Path) -> None:
    behaviour = Behaviour(cuts=[3 * CHUNK])
    path = fetch(server.remote(a=behaviour), tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(behaviour.seen) == 2
    assert CHUNK <= offset(behaviour.seen[1]) <= 3 * CHUNK


def test_the_next_mirror_continues_what_the_first_left(server: Server, tmp_path: Path) -> None:
    first, second = Behaviour(cuts=[2 * CHUNK]), Behaviour()
    assert fetch(server.remote(a=first, b=second), tmp_path).read_bytes() == CONTENT
    assert first.seen == [None]
    assert offset(second.seen[0]) >= CHUNK


def test_the_next_call_continues_what_the_last_left(server: Server, tmp_path: Path) -> None:
    behaviour = Behaviour(cuts=[2 * CHUNK, CHUNK])
    remote = server.remote(a=behaviour)
    with pytest.raises(ConnectionError, match=r"cannot download file\.bin"):
        fetch(remote, tmp_path)
    size = (tmp_path / "file.bin.part").stat().st_size
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:size]
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert offset(behaviour.seen[-1]) == size


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:CHUNK])
    behaviour = Behaviour(ranges=False)
    assert fetch(server.remote(a=behaviour), tmp_path).read_bytes() == CONTENT
    assert behaviour.seen == [f"bytes={CHUNK}-"]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"], ids=["complete", "too long"])
def test_a_part_that_cannot_be_continued_is_dropped(server: Server, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(left)
    behaviour = Behaviour()
    assert fetch(server.remote(a=behaviour), tmp_path).read_bytes() == CONTENT
    assert behaviour.seen == [f"bytes={len(left)}-", None]


def test_bytes_of_another_place_are_found_by_the_checksum(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:CHUNK])
    behaviour = Behaviour(shifted=True)
    assert fetch(server.remote(a=behaviour), tmp_path).read_bytes() == CONTENT
    assert behaviour.seen == [f"bytes={CHUNK}-", None]


def test_a_part_of_something_else_is_found_by_the_checksum(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"<html>sign in first</html>")
    behaviour = Behaviour()
    assert fetch(server.remote(a=behaviour), tmp_path).read_bytes() == CONTENT
    assert behaviour.seen[-1] is None


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["file.bin.part", "file.bin.lock"])
def test_nothing_is_downloaded_through_a_link(server: Server, tmp_path: Path, name: str, ranges: bool) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "cache"
    victim.write_bytes(b"what the user would not lose")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    with pytest.raises(ValueError, match=rf"{name} is a link to {victim}.*; delete it"):
        fetch(server.remote(a=Behaviour(ranges=ranges)), folder)
    assert victim.read_bytes() == b"what the user would not lose"


def test_a_download_replaces_a_link_and_not_what_it_leads_to(server: Server, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "cache"
    victim.write_bytes(b"what the user would not lose")
    folder.mkdir()
    (folder / "file.bin").symlink_to(victim)
    assert fetch(server.remote(a=Behaviour()), folder).read_bytes() == CONTENT
    assert victim.read_bytes() == b"what the user would not lose"


def test_wrong_bytes_are_named_and_removed(server: Server, tmp_path: Path) -> None:
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    behaviour = Behaviour(content=wrong)
    remote = server.remote(a=behaviour)
    with pytest.raises(ValueError, match=r"file\.bin") as caught:
        fetch(remote, tmp_path)
    assert MD5 in str(caught.value)
    assert hashlib.md5(wrong).hexdigest() in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    behaviour.content = CONTENT
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert behaviour.seen[-1] is None


def test_wrong_bytes_on_one_mirror_do_no_harm(server: Server, tmp_path: Path) -> None:
    remote = server.remote(a=Behaviour(content=CONTENT[::-1]), b=Behaviour())
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_a_missing_file_falls_to_the_next_mirror(server: Server, tmp_path: Path) -> None:
    first = Behaviour(status=404)
    assert fetch(server.remote(a=first, b=Behaviour()), tmp_path).read_bytes() == CONTENT
    assert first.seen == [None]


def test_an_unreachable_network_is_one_clear_error(server: Server, tmp_path: Path) -> None:
    gone = Behaviour(status=404)
    remote = server.remote(gone=gone)
    closed = "http://127.0.0.1:9"  # the discard port: nothing listens
    remote = replace(remote, mirrors=(*remote.mirrors, closed))
    with pytest.raises(ConnectionError) as caught:
        fetch(remote, tmp_path)
    message = str(caught.value)
    assert f"{remote.urls[0]} (status 404)" in message
    assert f"{closed}/file.bin (ConnectionError)" in message
    assert "DIR/somewhere/file.bin" in message
    assert "GMLAYERS_DATA=DIR" in message
    assert gone.seen == [None]  # asked once: there is nothing to continue
    assert "\n" not in message


def test_ctrl_c_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "file.bin.part"
    behaviour = Behaviour(interrupts=part)
    remote = server.remote(a=behaviour)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote, tmp_path)
    kept = part.read_bytes()
    assert len(kept) >= CHUNK
    assert CONTENT.startswith(kept)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert offset(behaviour.seen[-1]) == len(kept)


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    behaviour = Behaviour()
    remote = server.remote(a=behaviour)
    threads = [threading.Thread(target=fetch, args=(remote, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert behaviour.seen == [None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="set GMLAYERS_CACHE"):
        fetch(server.remote(a=Behaviour()), tmp_path / "file" / "below")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    fetch(server.remote(a=Behaviour()), tmp_path)
    shown = capsys.readouterr()
    assert ("file.bin" in shown.err) == terminal
    assert shown.out == ""


@pytest.mark.parametrize("folder", ["somewhere", "."])
def test_a_file_put_there_by_hand_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    behaviour = Behaviour()
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path))
    assert obtain(server.remote(a=behaviour)).samefile(tmp_path / folder / "file.bin")
    assert behaviour.seen == []


def test_a_spoilt_file_put_there_by_hand_is_never_replaced(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = Behaviour()
    path = tmp_path / "somewhere" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:100])
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path))
    monkeypatch.setenv("GMLAYERS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="altered or truncated") as caught:
        obtain(server.remote(a=behaviour))
    got = hashlib.md5(CONTENT[:100]).hexdigest()
    for part in (str(path), MD5, got, "unset GMLAYERS_DATA"):
        assert part in str(caught.value)
    assert behaviour.seen == []


def test_what_is_not_there_by_hand_goes_to_the_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GMLAYERS_CACHE", str(tmp_path / "cache"))
    path = obtain(server.remote(a=Behaviour()))
    assert path == tmp_path / "cache" / "somewhere" / "file.bin"


def test_a_wrong_setting_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GMLAYERS_DATA", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"GMLAYERS_DATA is .*absent"):
        provided(Remote("file.bin", MD5, (), (".",)))


def test_every_known_remote_is_well_formed() -> None:
    remotes = [remote for group in _download.REMOTES.values() for remote in group]
    assert len({remote.md5 for remote in remotes}) == len(remotes) == 10
    for remote in remotes:
        assert len(bytes.fromhex(remote.md5)) == 16
        assert all(url.startswith("http") and url.endswith(f"/{remote.file}") for url in remote.urls)
