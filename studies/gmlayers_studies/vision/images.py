"""The images: public data sets by name, your own by their path, and a JPEG copy of CIFAR-10 that is read once."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from gmlayers.experiments._download import cache_folder
from gmlayers.experiments.data import Data, load
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.run_folder import fingerprint

JPEG = "cifar10-jpeg"
"""A copy of CIFAR-10 as JPEG files, which are lossy and so not CIFAR-10, lies in this folder of GMLAYERS_DATA."""

ARCHIVE = "CIFAR-10-images.tar.xz"


@cache
def images(name: str) -> Data:
    """Return a data set of images.

    Raises:
        ValueError: if it has no classes, or is not of images.
        FileNotFoundError: if the JPEG copy is asked for and not there.
    """
    data = load(_jpeg_as_arrays() if name == JPEG else name)
    if data.classes is None or not data.is_image:
        target = "a number" if data.classes is None else "classes"
        raise ValueError(f"{name}: expected images with classes, got inputs of shape {data.shape} and {target}")
    return data


@cache
def fingerprint_of(name: str) -> str:
    """Return a checksum of all images of a data set."""
    return fingerprint(images(name))


def _jpeg_as_arrays() -> Path:
    """Return a file of arrays with the images of the JPEG copy; decoding them takes longer than training a net."""
    own = cache_folder() / f"{JPEG}.npz"
    if own.exists():
        return own
    root = Path(os.environ.get("GMLAYERS_DATA", "data")) / JPEG
    arrays: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[str]] = {"train": [], "test": []}
    for part, label, content in _files(root):
        with Image.open(io.BytesIO(content)) as image:
            arrays[part].append(np.asarray(image.convert("RGB")))
        labels[part].append(label)
    if not all(arrays.values()):
        raise FileNotFoundError(f"{root} has no train/CLASS/* and test/CLASS/*; put {ARCHIVE} or its folders there")
    buffer = io.BytesIO()
    x, y = ({part: make(found) for part, found in of.items()} for make, of in ((np.stack, arrays), (np.array, labels)))
    np.savez(buffer, x_train=x["train"], y_train=y["train"], x_test=x["test"], y_test=y["test"])
    own.parent.mkdir(parents=True, exist_ok=True)
    write_whole(own, buffer.getvalue())
    return own


def _files(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield part, class and content of every image below a folder, or in the archive that lies there."""
    if (root / ARCHIVE).exists():
        with tarfile.open(root / ARCHIVE) as archive:
            for member in archive:
                place = PurePosixPath(member.name).parts[-3:]
                if member.isfile() and len(place) == 3 and place[0] in ("train", "test"):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield place[0], place[1], content.read()
    for path in sorted(root.glob("t*/*/*.jpg")):
        if path.parts[-3] in ("train", "test"):
            yield path.parts[-3], path.parts[-2], path.read_bytes()
