"""Small image classifiers: a convolutional net, a residual net and a vision transformer, and their images."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers.experiments._download import cache_folder
from gmlayers.experiments.data import Data, load
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.run_folder import fingerprint
from gmlayers.experiments.trainer import examples, outputs
from gmlayers_studies.hosts.image_blocks import FEWER_BLOCKS, PATCH_BLOCKS, PIXEL_BLOCKS
from gmlayers_studies.hosts.language import Attention
from gmlayers_studies.hosts.run import Learner, batches
from gmlayers_studies.records import Row

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


BATCH = 128
"""A step sees so many images."""

BINS = 15
"""Confidences are compared with accuracies in so many bins."""

SEEN = 10_000
"""So many images tell the error on what was trained on."""

MakeBlock = Callable[[int], nn.Module]


class AroundPixels(nn.Module):
    """A depthwise convolution, a norm and a block at every pixel, with a sum after it: the form of ConvNeXt."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm, self.block = nn.LayerNorm(width), block

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (batch, width, height, width'), with what the block adds."""
        return x + self.block(self.norm(self.around(x).movedim(1, -1))).movedim(-1, 1)


class AroundPatches(nn.Module):
    """A norm and a block over patches, with a sum after it."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.norm, self.block = nn.BatchNorm2d(width), block

    def forward(self, x: Tensor) -> Tensor:
        """Return x with what the block adds."""
        return x + self.block(self.norm(x))


class AroundTokens(nn.Module):
    """Attention and a block, each with a norm before it and a sum after it."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), Attention(width, causal=False)
        self.second, self.block = nn.LayerNorm(width), block

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (batch, tokens, width), with what attention and block add."""
        x = x + self.attention(self.first(x))
        return x + self.block(self.second(x))


class Tokens(nn.Module):
    """The patches of an image as rows, each with what is learned of its place."""

    def __init__(self, channels: int, width: int, patch: int, places: int) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(channels, width, patch, patch), nn.Parameter(torch.empty(places, width))
        nn.init.normal_(self.place, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, (batch, places, width)."""
        return self.patches(x).flatten(2).mT + self.place


class Mean(nn.Module):
    """The mean over pixels or tokens."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the axes."""
        return x.mean(self.axes)


def cnn(shape: tuple[int, ...], classes: int, block: MakeBlock, narrow: int = 24, wide: int = 48) -> nn.Sequential:
    """Return a convolutional net with a block at a half and one at a quarter of the resolution."""
    return nn.Sequential(
        nn.Conv2d(shape[0], narrow, 4, stride=2, padding=1),
        AroundPixels(narrow, block(narrow)),
        nn.Conv2d(narrow, wide, 2, stride=2),
        AroundPixels(wide, block(wide)),
        Mean(-2, -1),
        nn.LayerNorm(wide),
        nn.Linear(wide, classes),
    )


def resnet(shape: tuple[int, ...], classes: int, block: MakeBlock, narrow: int = 24, wide: int = 48) -> nn.Sequential:
    """Return a residual net of three blocks over patches."""
    return nn.Sequential(
        nn.Conv2d(shape[0], narrow, 3, stride=2, padding=1),
        AroundPatches(narrow, block(narrow)),
        nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
        AroundPatches(wide, block(wide)),
        AroundPatches(wide, block(wide)),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
        Mean(-2, -1),
        nn.Linear(wide, classes),
    )


def vit(shape: tuple[int, ...], classes: int, block: MakeBlock, width: int = 48, patch: int = 4) -> nn.Sequential:
    """Return a vision transformer of two layers."""
    places = (shape[1] // patch) * (shape[2] // patch)
    return nn.Sequential(
        Tokens(shape[0], width, patch, places),
        AroundTokens(width, block(width)),
        AroundTokens(width, block(width)),
        Mean(1),
        nn.LayerNorm(width),
        nn.Linear(width, classes),
    )


class Kind(NamedTuple):
    """A kind of host."""

    make: Callable[[tuple[int, ...], int, MakeBlock], nn.Sequential]
    """Makes one for images of a shape and so many classes."""
    blocks: Mapping[str, MakeBlock]
    order: float


KINDS = {"CNN": Kind(cnn, PIXEL_BLOCKS, 0), "ResNet": Kind(resnet, PATCH_BLOCKS, 1), "ViT": Kind(vit, FEWER_BLOCKS, 2)}
"""The table has the kinds of hosts by name."""


@dataclass(frozen=True)
class ImageHost:
    """An image classifier and the images that it learns; a :class:`~gmlayers_studies.hosts.run.Host`.

    Args:
        kind: a name of :data:`KINDS`.
        data: a data set, by name or path.
        rows: so many images are trained on, the first ones; None means all.
    """

    kind: str
    data: str
    rows: int | None = None
    measure = "error"
    decay = 0.05

    @classmethod
    def of(cls, task: str) -> ImageHost:
        """Return the host of a task, such as ``"CNN on mnist"`` or ``"CNN on 5000 of mnist"``."""
        kind, _, data = task.partition(" on ")
        rows, between, name = data.partition(" of ")
        return cls(kind, name, int(rows)) if between else cls(kind, data)

    @property
    def source(self) -> str:
        """What it learns from."""
        return f"what was read for {self.data}"

    @property
    def shared(self) -> str:
        """The kind: rates are chosen for all data sets at once."""
        return self.kind

    @property
    def row(self) -> str:
        """The kind."""
        return self.kind

    @property
    def order(self) -> float:
        """The place in the table of kinds."""
        return KINDS[self.kind].order

    @property
    def blocks(self) -> Mapping[str, MakeBlock]:
        """What can stand in its places."""
        return KINDS[self.kind].blocks

    def fingerprint(self) -> str:
        """Return the fingerprint of the images."""
        return fingerprint_of(self.data)

    def begin(self, block: str, seed: int, *, choosing: bool) -> Learner:
        """Return a new model, which sees the images in one random order after another."""
        data = images(self.data)
        assert data.classes is not None
        seen = examples(data, validate=choosing)
        count = len(seen.train_x) if self.rows is None else self.rows
        std, mean = torch.std_mean(seen.train_x[:count])
        x, y, judge_x = (seen.train_x[:count] - mean) / std, seen.train_y[:count], (seen.judge_x - mean) / std
        places: list[nn.Module] = []

        def build(width: int) -> nn.Module:
            places.append(self.blocks[block](width))
            return places[-1]

        model = KINDS[self.kind].make(data.shape, len(data.classes), build)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        order = batches(torch.arange(count), BATCH, seed)

        def loss() -> Tensor:
            rows = next(order)
            return F.cross_entropy(model(x[rows]), y[rows])

        def judge() -> Row:
            found, known = outputs(model, judge_x, 500), outputs(model, x[:SEEN], 500)
            return {
                "error": error(found, seen.judge_y),
                "train_error": error(known, y[:SEEN]),
                "calibration": calibration(found, seen.judge_y),
            }

        return Learner(model, places, loss, judge)


def error(logits: Tensor, y: Tensor) -> float:
    """Return the share of wrong classes."""
    return float((logits.argmax(1) != y).double().mean())


def calibration(logits: Tensor, y: Tensor) -> float:
    r"""Return the expected calibration error: how far confidences are from accuracies, in bins of equal width.

    .. math:: \sum_b \frac{n_b}{n} \, \bigl|\text{accuracy}_b - \text{mean confidence}_b\bigr|

    (Guo et al., *On calibration of modern neural networks*, ICML 2017, equation 3).
    """
    confidence, answer = logits.double().softmax(1).max(1)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    off = torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, (answer == y).double() - confidence)
    return float(off.abs().sum() / len(y))
