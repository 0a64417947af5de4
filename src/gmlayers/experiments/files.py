"""Files as the commands write and open them: whole or not at all, and never through a link that somebody else laid.

A folder of a run may come from somebody else, with a link in it that leads out of it, or a pipe that nobody writes to.
:func:`refuse_links` looks at everything in it before anything is written, and the functions here look again at the
file that each of them opens. What the path to the folder goes through is the user's own, and may hold links.

Against somebody who changes the folder while a command runs this does not help in full: a folder of it may become a
link between the look and the use, and a file would then be made, replaced or lengthened where it leads. Whom you do not
trust must not have the right to write where you train.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

TEMPORARY = ".gmlayers-"
"""A file that is being written has a name with this beginning. Its rest is drawn anew each time."""

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # not on every system

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFile(ValueError):
    """A folder, a pipe or a device stands where a file was expected."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new, never a part.

    The content goes to a new file beside it, whose name nobody can foresee, and that takes the place of the old one. So
    a link at ``path`` is itself replaced, and what it leads to stays as it is.

    Raises:
        OSError: if that is not possible; it names ``path``.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105  (tests let it fail)
        except BaseException:  # after Ctrl-C, too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that a rename outlives a loss of power, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # one may write to a folder without the right to read it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete what :func:`write_whole` left in a folder when it was killed; nobody else may be writing there.

    So it is for folders of trials, which are locked. Beside a file such as that of ``predict --out`` a hidden one stays
    after a kill: nobody can tell it from one that another process has just begun.
    """
    for left in folder.glob(f"{TEMPORARY}*"):
        left.unlink()


def open_own(path: Path, *, truncate: bool = False) -> BinaryIO:
    """Open a file of one's own to add to its end, or anew; make it if it is not there.

    Raises:
        ValueError: if a link stands there, or something else that is no file.
    """
    _refuse_link(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _SAFE, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:  # it has become one
            raise _link(path) from None
        if error.errno == errno.ENXIO:  # a pipe without a reader, or a socket
            refuse_special(path)
        raise
    file = os.fdopen(descriptor, "ab")
    try:
        _refuse_mode(path, os.fstat(descriptor).st_mode)
        if truncate:
            os.ftruncate(descriptor, 0)
    except BaseException:
        file.close()
        raise
    return file


def read_whole(path: Path) -> bytes:
    """Return the content of a file; a link to one is followed, and what is no file is not read.

    Raises:
        ValueError: if it is a pipe, a device or a folder.
        FileNotFoundError: if there is nothing.
    """
    refuse_special(path)  # before it is opened, which for some devices is enough to do something
    with os.fdopen(os.open(path, os.O_RDONLY | (_SAFE & ~getattr(os, "O_NOFOLLOW", 0))), "rb") as file:
        _refuse_mode(path, os.fstat(file.fileno()).st_mode)
        return file.read()


def refuse_special(path: Path) -> None:
    """Raise ``ValueError`` if something other than a file stands at a path, or at the end of the links there."""
    with suppress(FileNotFoundError):  # whoever opens it will say so
        _refuse_mode(path, path.stat().st_mode)


def lock(path: Path) -> FileLock:
    """Return the lock that a file stands for, to be acquired.

    Raises:
        ValueError: if the file is a link or no file, or has a second name: to take the lock may empty it.
    """
    _refuse_link(path)
    with suppress(FileNotFoundError):
        state = path.lstat()
        _refuse_mode(path, state.st_mode)
        if state.st_nlink > 1:
            raise ValueError(f"{path} has a second name elsewhere, and taking the lock may empty it; delete it")
    return FileLock(path)


def refuse_links(folder: Path, place: str | Path = ".") -> None:
    """Raise ``ValueError`` if there is a link, a pipe or a device in a folder, or on the way to it.

    Args:
        folder: where the way begins; what it goes through itself is not looked at.
        place: the folder to be looked at in full, relative to ``folder``; it need not be there.
    """
    inside = folder
    for part in Path(place).parts:
        inside = inside / part
        _refuse_link(inside)
    left = [inside] if inside.is_dir() else []
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                _refuse_link(path)
                if entry.is_dir(follow_symlinks=False):
                    left.append(path)
                else:
                    _refuse_mode(path, entry.stat(follow_symlinks=False).st_mode)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise _link(path)


def _link(path: Path) -> ValueError:
    try:
        target = f" to {os.readlink(path)}"  # noqa: PTH115  (as it stands there)
    except OSError:
        target = ""
    return ValueError(
        f"{path} is a link{target}, and nothing is written through a link, which may lead anywhere; delete it, or put "
        f"what it leads to in its place"
    )


def _refuse_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise NotAFile(f"{path} is {kind}, where a file was expected; give another, or delete it if nobody needs it")
