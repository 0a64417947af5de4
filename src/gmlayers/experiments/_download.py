"""Files of the public data sets: found on disk or downloaded, and always verified."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pooch
import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from urllib3.exceptions import HTTPError

from gmlayers.experiments.files import lock, open_own

CHUNK = 1 << 16  # bytes written at a time: what Ctrl-C can lose
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer
ROUNDS = 2  # times the list of mirrors is gone through; the second continues what the first left


@dataclass(frozen=True)
class Remote:
    """One file of a public data set."""

    file: str
    md5: str
    mirrors: tuple[str, ...]  # what comes before the file name, in the order they are tried
    folders: tuple[str, ...]  # where it may lie under GMLAYERS_DATA; the first is used in the cache too

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the file, in the order they are tried."""
        return tuple(f"{mirror.rstrip('/')}/{self.file}" for mirror in self.mirrors)


def _idx(folder: str, mirrors: tuple[str, ...], md5: tuple[str, str, str, str]) -> tuple[Remote, ...]:
    """The four files of MNIST, or of a data set in its form."""
    files = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return tuple(Remote(file, digest, mirrors, (folder,)) for file, digest in zip(files, md5))


def _cifar(folder: str, file: str, md5: str) -> tuple[Remote, ...]:
    """The one archive of a CIFAR data set."""
    return (Remote(file, md5, ("https://www.cs.toronto.edu/~kriz",), (folder, ".")),)


REMOTES: dict[str, tuple[Remote, ...]] = {
    "mnist": _idx(
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": _idx(
        "fashion-mnist",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": _cifar("cifar10", "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar100": _cifar("cifar100", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
}


ETT = Remote(
    "ETTh1.csv",
    "8381763947c85f4be6ac456c508460d6",
    ("https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small",),
    ("ett", "."),
)
"""The loads and the oil temperature of an electricity transformer, hour by hour, are in this file (CC BY-ND 4.0)."""


def obtain(remote: Remote) -> Path:
    """Return the verified file: from ``GMLAYERS_DATA`` if it lies there, else the cache, else the network.

    A wrong file under ``GMLAYERS_DATA`` is an error and never a reason to download: it was put there by
    hand, and whoever did so should know that it is not what it claims to be.

    Raises:
        ValueError: if the file under ``GMLAYERS_DATA``, or every download, has the wrong checksum.
        ConnectionError: if no mirror gave the file.
    """
    return provided(remote) or fetch(remote, cache_folder() / remote.folders[0])


def cache_folder() -> Path:
    """Return the folder of downloads: ``GMLAYERS_CACHE``, or the usual one of the operating system."""
    return Path(os.environ.get("GMLAYERS_CACHE") or pooch.os_cache("gmlayers")).expanduser()


def provided(remote: Remote) -> Path | None:
    """Return the verified file under ``GMLAYERS_DATA``, or None if there is no such file."""
    setting = os.environ.get("GMLAYERS_DATA")
    if not setting:
        return None
    root = Path(setting).expanduser()
    if not root.is_dir():
        raise ValueError(f"GMLAYERS_DATA is {setting!r}, which is no folder; correct or `unset GMLAYERS_DATA`")
    candidates = [root / folder / remote.file for folder in remote.folders]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is not None and (got := _md5(path)) != remote.md5:
        raise ValueError(
            f"{path} is altered or truncated: expected MD5 {remote.md5}, got {got}; "
            f"run `rm {shlex.quote(str(path))}` or `unset GMLAYERS_DATA`, and it will be downloaded"
        )
    return path


def fetch(remote: Remote, folder: Path) -> Path:
    """Return the verified file in ``folder``, downloaded if it is not there.

    Bytes are kept in ``FILE.part`` until the file is complete, so an interrupted download is continued by
    the next call. A file of the right name and the wrong checksum in ``folder`` is downloaded anew.

    Raises:
        ValueError: if a mirror gave the whole file with a wrong checksum, and none gave the right one.
        ConnectionError: if no mirror gave the whole file.
        OSError: if ``folder`` cannot be written.
    """
    path = folder / remote.file
    # Looked at before the lock is taken, since a cache that is complete may be read-only.
    if path.is_file() and _md5(path) == remote.md5:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot make the download folder {folder} ({error.strerror}); "
            "set GMLAYERS_CACHE to a folder that can be written"
        ) from None
    # Two processes that append to one .part would spoil it; the second waits and finds the file complete.
    with lock(folder / f"{remote.file}.lock"):
        return _try_mirrors(remote, folder)


def _try_mirrors(remote: Remote, folder: Path) -> Path:
    """Download from the first mirror that gives the right bytes."""
    pooch.get_logger().setLevel("ERROR")  # the bar and the message at the end say it all
    failures: dict[str, str] = {}
    wrong_bytes = False
    closed: set[str] = set()  # mirrors that gave nothing at all, so that a second try would only take time
    for url in remote.urls * ROUNDS:
        if url in closed:
            continue
        try:
            # pooch compares the checksum and only then moves the file to its name; what fails is deleted.
            return Path(
                pooch.retrieve(
                    url,
                    known_hash=f"md5:{remote.md5}",
                    fname=remote.file,
                    path=folder,
                    # pooch annotates a downloader with the signature of one of its other callables.
                    downloader=cast(Any, _download),
                )
            )
        except (requests.RequestException, HTTPError) as error:
            failures[url] = _reason(error)
            if isinstance(error, (requests.ConnectionError, requests.HTTPError)):
                closed.add(url)
        except ValueError as error:
            failures[url] = str(error)
            wrong_bytes = True
    tried = "; ".join(f"{url} ({reason})" for url, reason in failures.items())
    kind = ValueError if wrong_bytes else ConnectionError
    raise kind(
        f"cannot download {remote.file}, tried {tried}; try again later to continue, or put the file at "
        f"DIR/{remote.folders[0]}/{remote.file} and set GMLAYERS_DATA=DIR"
    )


def _download(url: str, output_file: str, pooch: object) -> None:  # noqa: ARG001 (pooch passes itself)
    """Fetch ``url`` for pooch, by way of a ``.part`` file that outlives an interruption."""
    # pooch's own temporary file has a new name each time, so it cannot be what is continued.
    output = Path(output_file)
    part = output.with_name(url.rsplit("/", 1)[-1] + ".part")
    _continue(url, part)
    part.replace(output)


def _continue(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of ``url``; start over where the server cannot continue."""
    offset = part.stat().st_size if part.exists() else 0
    # Identity and raw bytes: the checksum is of the file as it is stored, and so are byte ranges.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        continued = response.status_code == 206
        if offset and response.status_code == 416:  # the file ends before what is here: not its beginning
            part.unlink()
            raise requests.RequestException(f"cannot continue from byte {offset}")
        response.raise_for_status()
        start = offset if continued else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with open_own(part, truncate=not continued) as file, _progress() as progress:
            task = progress.add_task(part.stem, total=total, completed=start)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                progress.advance(task, len(chunk))
    size = part.stat().st_size  # urllib3 before version 2 takes a cut answer for a whole one
    if total is not None and size != total:
        raise requests.RequestException(f"{size} of {total} bytes arrived")


def _progress() -> Progress:
    """A bar on stderr, or nothing where stderr is a file or a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _reason(error: Exception) -> str:
    """What went wrong, in a few words: the messages of the HTTP libraries run over several lines."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    if type(error) is requests.RequestException:
        return str(error)
    return type(error).__name__


def _md5(path: Path) -> str:
    """The MD5 checksum of a file."""
    return pooch.file_hash(str(path), alg="md5")
