"""Readers of the file formats: each turns a file into arrays, or into one line that says what is wrong."""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gmlayers._names import unknown
from gmlayers.experiments.files import refuse_special

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
UNSIGNED_BYTE = 8  # the IDX code of the only type that the known data sets use
CIFAR_PIXELS = 3 * 32 * 32


# IDX, the format of MNIST


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes.

    Raises:
        ValueError: if the file is cut, altered, or has another type or number of dimensions.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error}); replace it") from None
    return parse_idx(content, dimensions, str(path))


def parse_idx(content: bytes, dimensions: int, source: str) -> Tensor:
    """Return the array in the bytes of an IDX file; ``source`` names them in errors."""
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if content[:4] != magic:
        raise ValueError(
            f"{source}: expected an IDX file of unsigned bytes in {dimensions} dimensions "
            f"(magic {magic.hex()}), got magic {content[:4].hex() or 'nothing'}"
        )
    if len(content) < header:
        raise ValueError(f"{source}: truncated, expected a header of {header} bytes, got {len(content)}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected, got = math.prod(shape), len(content) - header
    if got != expected:
        raise ValueError(f"{source}: shape {shape} needs {expected} bytes of data, got {got}")
    if expected == 0:
        raise ValueError(f"{source}: holds no data, its shape is {shape}")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).reshape(shape)


def read_idx_pair(images: Path, labels: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Read images ``(N, 1, H, W)`` (uint8) and their labels ``(N,)`` (int64)."""
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise ValueError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels")
    check_labels(y, classes, str(labels))
    return x[:, None], y.long()


def check_labels(labels: Tensor, classes: int, source: str) -> None:
    """Refuse a label that is no class."""
    wrong = (labels >= classes).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"{source}: label {int(labels[row])} in row {row} is outside 0 to {classes - 1}")


# CIFAR, the binary version


def read_cifar(
    path: Path, train: Sequence[str], test: str, names: str, label_bytes: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[str, ...]]:
    """Read a binary CIFAR archive without unpacking it to disk.

    Args:
        path: the ``.tar.gz``.
        train: names of the files of training rows, in order.
        test: name of the file of test rows.
        names: name of the file of class names, one a line.
        label_bytes: bytes before the pixels of an image; the last one is the label.

    Returns:
        Training images ``(N, 3, 32, 32)`` (uint8) and labels, test images and labels, and class names.

    Raises:
        ValueError: if the archive is damaged, lacks a file, or holds a label that is no class.
    """
    files = _members(path, (*train, test, names))
    classes = tuple(files[names].decode("ascii", "replace").split())
    parts = [_cifar_rows(files[name], label_bytes, len(classes), f"{path}: {name}") for name in train]
    images, labels = zip(*parts)
    test_rows = _cifar_rows(files[test], label_bytes, len(classes), f"{path}: {test}")
    return (torch.cat(images), torch.cat(labels)), test_rows, classes


def _members(path: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The content of the named files of an archive, wherever in it they lie."""
    found: dict[str, bytes] = {}
    try:
        # Nothing is extracted, so no path in the archive can lead anywhere.
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if member.isfile() and name in wanted else None
                if file is not None:
                    found[name] = file.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged archive ({error}); replace it") from None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"{path}: the archive lacks {missing[0]}; expected the binary version of CIFAR")
    return found


def _cifar_rows(content: bytes, label_bytes: int, classes: int, source: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one file of records."""
    record = label_bytes + CIFAR_PIXELS
    if not content or len(content) % record:
        raise ValueError(f"{source}: expected whole records of {record} bytes, got {len(content)} bytes")
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1]
    check_labels(labels, classes, source)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), labels.long()


# Images in files


def read_image(path: Path) -> Image.Image:
    """Read the first frame of an image file as 8-bit grey (mode ``L``) or colour (mode ``RGB``).

    Transparency is dropped, and of 16-bit grey the upper eight bits are kept.

    Raises:
        ValueError: if the file is no image of a supported format.
    """
    refuse_special(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            image.load()
            return _plain(image)
    except UnidentifiedImageError:
        reason = "unknown format"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error)
    raise ValueError(f"{path}: not a readable image ({reason}); supported: {', '.join(IMAGE_FORMATS)}")


def _plain(image: Image.Image) -> Image.Image:
    """A copy in mode ``L`` if the image is grey, else in mode ``RGB``."""
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns most 16-bit images white.
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise ValueError("more than 16 bits per pixel")
        return Image.fromarray((wide >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode in ("P", "PA"):
        # By way of RGBA, since a palette with transparency warns on the direct way.
        colour = image.convert("RGBA").convert("RGB")
        red, green, blue = colour.split()
        return red if red.tobytes() == green.tobytes() == blue.tobytes() else colour
    return image.convert("RGB")


def image_files(folder: Path) -> list[Path]:
    """Return every file below a folder in order of name, hidden ones left out."""
    below = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in below if not any(_hidden(part) for part in path.relative_to(folder).parts))


def _hidden(name: str) -> bool:
    """Whether a name is one that file managers leave behind or hide."""
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini")


def read_image_folder(root: Path) -> tuple[Tensor, Tensor, tuple[str, ...], int | None]:
    """Read ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*``.

    Returns:
        Images ``(N, C, H, W)`` (uint8), labels, class names, and how many leading rows are for training
        (None if the folders do not say). Rows are in order of class and file name.

    Raises:
        ValueError: if there are fewer than two classes, a class is empty or only in the test set, a file is
            no image, or two images differ in size.
    """
    splits = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if len(splits) == 1:
        absent = "test" if splits[0].name == "train" else "train"
        raise ValueError(f"{root} holds a folder {splits[0].name!r} but none named {absent!r}; add or rename it")
    found = [_class_files(split) for split in splits or [root]]
    classes = sorted(found[0], key=_natural)
    if len(classes) < 2:
        raise ValueError(f"{splits[0] if splits else root}: expected at least 2 class folders, got {classes}")
    for name in found[-1]:
        if name not in found[0]:
            raise ValueError(f"{root}: the class {name!r} is in the test set but not in the training set")
    files = [(path, label) for split in found for label, c in enumerate(classes) for path in split.get(c, [])]
    x = _stack([path for path, _ in files])
    y = torch.tensor([label for _, label in files])
    return x, y, tuple(classes), sum(map(len, found[0].values())) if splits else None


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder."""
    names = [path.name for path in folder.iterdir() if path.is_dir() and not _hidden(path.name)]
    if not names:
        raise ValueError(f"{folder}: expected one folder of images per class, got no folder")
    files = {name: image_files(folder / name) for name in names}
    empty = [name for name in names if not files[name]]
    if empty:
        raise ValueError(f"{folder / empty[0]}: the class folder holds no image; fill or remove it")
    return files


def _natural(name: str) -> tuple[bool, int, str]:
    """A sorting key that puts 2 before 10, and numbers before words."""
    number = int(name) if name.isdecimal() else 0
    return not name.isdecimal(), number, name


def _stack(paths: Sequence[Path]) -> Tensor:
    """All images as one array: grey if all are grey, else colour."""
    images: list[NDArray[np.uint8]] = []
    for path in paths:
        images.append(np.asarray(read_image(path)))
        if images[-1].shape[:2] != images[0].shape[:2]:
            sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in (images[0], images[-1])]
            raise ValueError(
                f"all images must have one size, but {paths[0]} is {sizes[0]} and {path} is {sizes[1]} "
                "(width x height); resize them"
            )
    if all(image.ndim == 2 for image in images):
        return torch.from_numpy(np.stack(images)[:, None])
    colour = [np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image for image in images]
    return torch.from_numpy(np.stack(colour).transpose(0, 3, 1, 2).copy())


# NPZ


def read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read every array of an ``.npz`` file; pickled ones are refused.

    Raises:
        ValueError: if the file is damaged or an array would have to be unpickled.
    """
    refuse_special(path)
    arrays: dict[str, NDArray[np.generic]] = {}
    name = ""
    try:
        with zipfile.ZipFile(path):
            pass  # np.load would take any file that is no zip for a pickle, with a puzzling message
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                arrays[name] = file[name]
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole .npz file ({error}); save it again with numpy.savez") from None
    except ValueError as error:
        raise ValueError(f"{path}: the array {name!r} cannot be read ({error})") from None
    return arrays


def npz_array(path: Path, arrays: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.generic]:
    """Return one array of an ``.npz`` file, or raise ``ValueError`` naming those there are."""
    if name not in arrays:
        raise ValueError(f"{path}: {unknown('array', name, arrays)}")
    array = arrays[name]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise ValueError(f"{path}: array {name!r} holds {array[index]} at index {index}; correct or remove it")
    return array


def npz_features(path: Path, arrays: dict[str, NDArray[np.generic]], name: str) -> Tensor:
    """Return an array of inputs: a table as float32, images as uint8 or as float32 in [0, 1].

    Raises:
        ValueError: if the array is no table and no images.
    """
    array = npz_array(path, arrays, name)
    where = f"{path}: array {name!r}"
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where} must hold numbers, got dtype {array.dtype}")
    if array.ndim == 2:
        with np.errstate(over="ignore"):
            table = array.astype(np.float32)
        if not np.isfinite(table).all():
            raise ValueError(f"{where} holds values beyond the range of float32; rescale it")
        return torch.from_numpy(table)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(
            f"{where} has shape {array.shape}; expected (N, features), or images (N, H, W), (N, C, H, W) or "
            "(N, H, W, C) with 1 or 3 channels"
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(array.copy())
    if array.dtype.kind != "f" or (array.size and not 0 <= array.min() <= array.max() <= 1):
        raise ValueError(
            f"{where}: images must be uint8, or float in [0, 1]; got {array.dtype} in [{array.min()}, {array.max()}]"
        )
    return torch.from_numpy(array.astype(np.float32))


def npz_target(path: Path, arrays: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.generic]:
    """Return an array of targets ``(N,)``: numbers, or text, which may be that of numbers.

    Raises:
        ValueError: if the array is neither ``(N,)`` nor ``(N, 1)``, or of another type.
    """
    array = npz_array(path, arrays, name)
    where = f"{path}: array {name!r}"
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; for one-hot rows save y.argmax(1)" if array.ndim == 2 else ""
        raise ValueError(f"{where} has shape {array.shape}; expected one target per row, (N,) or (N, 1){hint}")
    if array.dtype.kind in "SUb":
        return array.astype(np.str_)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{where} must hold numbers or text, got dtype {array.dtype}")
    return array
