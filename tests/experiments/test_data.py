"""Data sets: what is read is what was written, and whatever is wrong is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from gmlayers.experiments import _download, _readers
from gmlayers.experiments.data import NAMES, Data, load, read_images, read_inputs, read_table

REAL = pytest.mark.skipif(
    not os.environ.get("GMLAYERS_DATA"), reason="GMLAYERS_DATA is not set: no real data sets to read"
)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def refused(message: str, source: str | Path, **options: str) -> str:
    """Load, expect a ValueError in one line that holds ``message``, and return it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below, as plain text)
        load(source, **options)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pairs(x: torch.Tensor, y: torch.Tensor) -> set[tuple[object, ...]]:
    """Rows with their targets, whatever their order."""
    return {(*row, *target) for row, target in zip(x.flatten(1).tolist(), y.reshape(len(y), -1).tolist())}


# Names and paths


def test_digits_are_split_by_writer_and_scaled() -> None:
    data = load("digits")
    assert data.name == "digits"
    assert data.shape == (1, 8, 8)
    assert data.is_image
    assert (len(data.train_x), len(data.test_x), data.validation) == (1437, 360, 143)
    assert data.classes == tuple("0123456789")
    assert data.train_x.dtype == torch.float32
    assert data.train_y.dtype == torch.int64
    assert (float(data.train_x.min()), float(data.train_x.max())) == (0.0, 1.0)
    assert data.train_y[:10].tolist() == list(range(10))  # the order of the file
    assert data.columns is None


def test_a_name_in_capitals_is_understood() -> None:
    assert load("Digits").name == "digits"


def test_an_unknown_name_gets_a_suggestion() -> None:
    message = refused("did you mean 'fashion-mnist'?", "fashion-mnst")
    assert ".npz" in message
    assert all(name in message for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_loaded(name: str) -> None:
    assert name == "digits" or name in _download.REMOTES


def test_options_of_tables_are_refused_for_images(tmp_path: Path) -> None:
    refused("target='size'", "digits", target="size")
    refused("task='regression'", "digits", task="regression")
    refused("target='size'", tmp_path, target="size")
    refused("did you mean 'regression'?", "digits", task="regresion")


def test_an_unsupported_type_names_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").touch()
    message = refused("'.parquet'", tmp_path / "table.parquet")
    assert ".csv" in message
    assert ".npz" in message


# IDX

ARRAYS = npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=4, max_side=5))


@given(ARRAYS)
def test_idx_round_trip(array: NDArray[np.uint8]) -> None:
    read = _readers.parse_idx(idx_bytes(array), array.ndim, "here")
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read.numpy(), array)


@given(ARRAYS, st.data())
@settings(max_examples=50)
def test_an_idx_file_of_any_other_length_is_refused(array: NDArray[np.uint8], data: st.DataObject) -> None:
    content = idx_bytes(array)
    other = data.draw(st.integers(0, len(content) + 20).filter(lambda size: size != len(content)))
    with pytest.raises(ValueError, match=r"^here: .*(expected|needs).*got"):
        _readers.parse_idx((content + bytes(20))[:other], array.ndim, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack(">BBBBI", 0, 0, 0x0D, 1, 1) + bytes(4), "magic 00000d01"),  # floats
        (idx_bytes(np.zeros((2, 2), np.uint8)), "magic 00000802"),
        (b"<html>", "magic 3c68746d"),
        (b"", "got magic nothing"),
        (idx_bytes(np.zeros(0, np.uint8)), "holds no data"),
    ],
)
def test_what_is_no_idx_file_of_labels_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _readers.parse_idx(content, 1, "here")


def provide(root: Path, name: str, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put files under GMLAYERS_DATA, with the checksums that they have."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    remotes = tuple(
        replace(remote, md5=hashlib.md5(files[remote.file]).hexdigest()) for remote in _download.REMOTES[name]
    )
    monkeypatch.setitem(_download.REMOTES, name, remotes)
    monkeypatch.setenv("GMLAYERS_DATA", str(root))
    return folder


def idx_files() -> dict[str, bytes]:
    """A tiny MNIST: 12 training and 3 test images of 4 x 5 pixels."""
    random = np.random.default_rng(0)
    parts = {
        "train-images-idx3-ubyte": idx_bytes(random.integers(0, 256, (12, 4, 5), dtype=np.uint8)),
        "train-labels-idx1-ubyte": idx_bytes(np.arange(12, dtype=np.uint8) % 10),
        "t10k-images-idx3-ubyte": idx_bytes(np.full((3, 4, 5), 255, np.uint8)),
        "t10k-labels-idx1-ubyte": idx_bytes(np.array([9, 0, 5], np.uint8)),
    }
    return {f"{name}.gz": gzip.compress(part) for name, part in parts.items()}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_is_read_in_its_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(tmp_path, name, idx_files(), monkeypatch)
    data = load(name)
    assert data.shape == (1, 4, 5)
    assert data.train_y.tolist() == [*range(10), 0, 1]
    assert data.test_y.tolist() == [9, 0, 5]
    assert torch.equal(data.test_x, torch.ones(3, 1, 4, 5))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(data.train_x[:, 0].numpy(), (pixels / 255).astype(np.float32))
    assert data.validation == 2
    assert data.classes is not None
    assert data.classes[9] == ("9" if name == "mnist" else "Ankle boot")


def test_mnist_with_a_label_that_is_no_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = idx_files()
    files["t10k-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(np.array([1, 10, 2], np.uint8)))
    provide(tmp_path, "mnist", files, monkeypatch)
    assert "t10k-labels" in refused("label 10 in row 1 is outside 0 to 9", "mnist")


def test_mnist_with_fewer_labels_than_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = idx_files()
    files["train-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(np.zeros(11, np.uint8)))
    provide(tmp_path, "mnist", files, monkeypatch)
    refused("holds 11 labels", "mnist")


@pytest.mark.parametrize("content", [gzip.compress(b"some bytes")[:-9], b"no gzip"], ids=["cut", "other"])
def test_mnist_in_a_damaged_gzip_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = idx_files() | {"train-images-idx3-ubyte.gz": content}
    provide(tmp_path, "mnist", files, monkeypatch)
    assert "train-images" in refused("damaged gzip file", "mnist")


def test_an_altered_file_is_named_with_its_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = provide(tmp_path, "mnist", idx_files(), monkeypatch)
    file = folder / "t10k-labels-idx1-ubyte.gz"
    expected = hashlib.md5(file.read_bytes()).hexdigest()
    file.write_bytes(file.read_bytes() + b"x")
    message = refused(str(file), "mnist")
    assert expected in message
    assert hashlib.md5(file.read_bytes()).hexdigest() in message


@REAL
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_mnist(name: str) -> None:
    data = load(name)
    assert data.shape == (1, 28, 28)
    assert (len(data.train_x), len(data.test_x), data.validation) == (60_000, 10_000, 10_000)
    assert torch.bincount(data.test_y, minlength=10).sum() == 10_000
    assert data.train_y[:3].tolist() == ([5, 0, 4] if name == "mnist" else [9, 0, 0])
    assert (float(data.train_x.min()), float(data.train_x.max())) == (0.0, 1.0)


# CIFAR


def tar_bytes(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def record(*labels: int, fill: int = 0) -> bytes:
    """One image: red rises along a row, green is ``fill``, blue is 255."""
    red = bytes(range(32)) * 32
    return bytes(labels) + red + bytes([fill]) * 1024 + bytes([255]) * 1024


def cifar10_files() -> dict[str, bytes]:
    batches = {f"cifar-10-batches-bin/data_batch_{n}.bin": record(n, fill=n) * 2 for n in (3, 1, 2, 5, 4)}
    names = "\n".join(["airplane", *(f"thing{n}" for n in range(1, 10))]) + "\n\n"
    return batches | {
        "cifar-10-batches-bin/test_batch.bin": record(0),
        "cifar-10-batches-bin/batches.meta.txt": names.encode(),
        "../../readme.html": b"never looked at",
    }


def provide_cifar10(files: Mapping[str, bytes], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(root, "cifar10", {"cifar-10-binary.tar.gz": tar_bytes(files)}, monkeypatch)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide_cifar10(cifar10_files(), tmp_path, monkeypatch)
    data = load("cifar10")
    assert data.shape == (3, 32, 32)
    assert data.train_y.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # batches in order, not as in the archive
    assert data.classes is not None
    assert data.classes[:2] == ("airplane", "thing1")
    red, green, blue = data.train_x[2] * 255
    assert red[7].tolist() == pytest.approx(list(range(32)))
    assert green.unique().tolist() == pytest.approx([2])
    assert blue.unique().tolist() == [255]
    assert data.validation == 1
    assert not (tmp_path.parent / "readme.html").exists()


def test_cifar10_directly_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide_cifar10(cifar10_files(), tmp_path, monkeypatch)
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").rename(tmp_path / "cifar-10-binary.tar.gz")
    assert len(load("cifar10").train_x) == 10


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar_bytes(
        {
            "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers\n",
            "cifar-100-binary/fine_label_names.txt": b"shark\nray\norchid\n",
            "cifar-100-binary/train.bin": record(0, 1) + record(1, 2),
            "cifar-100-binary/test.bin": record(0, 0, fill=9),
        }
    )
    provide(tmp_path, "cifar100", {"cifar-100-binary.tar.gz": archive}, monkeypatch)
    data = load("cifar100")
    assert data.classes == ("shark", "ray", "orchid")
    assert data.train_y.tolist() == [1, 2]
    assert data.test_y.tolist() == [0]
    assert (data.test_x[0, 1] * 255).unique().tolist() == pytest.approx([9])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data_batch_2.bin", None, "lacks data_batch_2.bin"),
        (
            "data_batch_2.bin",
            record(1)[:-1],
            "data_batch_2.bin: expected whole records of 3073 bytes, got 3072",
        ),
        ("test_batch.bin", record(10), "test_batch.bin: label 10 in row 0 is outside 0 to 9"),
        ("batches.meta.txt", b"one\ntwo\n", "outside 0 to 1"),
    ],
)
def test_a_wrong_cifar_archive(
    file: str, content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = cifar10_files()
    path = f"cifar-10-batches-bin/{file}"
    if content is None:
        del files[path]
    else:
        files[path] = content
    provide_cifar10(files, tmp_path, monkeypatch)
    refused(message, "cifar10")


@pytest.mark.parametrize("content", [tar_bytes(cifar10_files())[:-200], b"no archive", b""])
def test_a_damaged_cifar_archive(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(tmp_path, "cifar10", {"cifar-10-binary.tar.gz": content}, monkeypatch)
    refused("damaged archive", "cifar10")


# Folders of images


def draw(path: Path, colour: int | tuple[int, int, int], size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)
    return path


def image_folder(root: Path, each: int = 10) -> Path:
    """Two classes of grey images: cats from 0 on, dogs from 100 on."""
    for index in range(each):
        draw(root / "cat" / f"{index:03}.png", index)
        draw(root / "dog" / f"{index:03}.png", 100 + index)
    return root


def test_a_folder_is_split_evenly_and_always_alike(tmp_path: Path) -> None:
    data = load(image_folder(tmp_path, 20))
    assert data.name == str(tmp_path)
    assert data.shape == (1, 3, 4)
    assert data.classes == ("cat", "dog")
    assert (len(data.train_x), len(data.test_x), data.validation) == (32, 8, 3)
    assert data.test_y.sum() == 4
    assert 1 <= data.train_y[-data.validation :].sum() <= 2
    x = (torch.cat([data.train_x, data.test_x])[:, 0, 0, 0] * 255).round().int()
    y = torch.cat([data.train_y, data.test_y])
    assert sorted(x.tolist()) == [*range(20), *range(100, 120)]
    assert torch.equal(y, (x >= 100).long())
    assert x.tolist() != sorted(x.tolist())
    assert torch.equal(load(tmp_path).train_x, data.train_x)


def test_a_folder_with_a_test_set(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    draw(tmp_path / "test" / "dog" / "a.png", 200)
    draw(tmp_path / "test" / "dog" / "b.png", 201)
    (tmp_path / "test" / "notes.txt").touch()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / ".hidden").touch()
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.test_y.tolist() == [1, 1]
    assert (data.test_x[:, 0, 0, 0] * 255).round().tolist() == [200, 201]
    assert len(data.train_x) == 20
    assert data.train_y.tolist() != sorted(data.train_y.tolist())
    assert 0 < data.train_y[-data.validation :].float().mean() < 1


def test_classes_named_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        for index in range(4):
            draw(tmp_path / name / f"{index}.bmp", 0)
    assert load(tmp_path).classes == ("1", "2", "10")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tiff"])
def test_one_colour_file_makes_all_colour(tmp_path: Path, suffix: str) -> None:
    image_folder(tmp_path)
    draw(tmp_path / "dog" / f"red.{suffix}", (250, 0, 0))
    data = load(tmp_path)
    assert data.shape == (3, 3, 4)
    x = torch.cat([data.train_x, data.test_x])
    red = x[(x[:, 0] - x[:, 1]).amax((1, 2)) > 0.5]
    assert len(red) == 1
    assert red[0, :, 1, 1].tolist() == pytest.approx([250 / 255, 0, 0], abs=0.03)


def test_other_modes_are_read_as_what_they_show(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((3, 4), 0x80FF, np.uint16))
    wide.save(tmp_path / "wide.png")
    Image.new("LA", (4, 3), (90, 0)).save(tmp_path / "alpha.png")
    Image.new("1", (4, 3), 1).save(tmp_path / "bit.png")
    Image.new("RGBA", (4, 3), (1, 2, 3, 0)).save(tmp_path / "rgba.png")
    grey = Image.new("P", (4, 3), 1)
    grey.putpalette([0, 0, 0, 77, 77, 77])
    grey.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    read = {path.stem: _readers.read_image(path) for path in tmp_path.iterdir()}
    assert {name: image.mode for name, image in read.items()} == {
        "wide": "L",
        "alpha": "L",
        "bit": "L",
        "rgba": "RGB",
        "palette": "L",
    }
    assert {name: image.getpixel((1, 1)) for name, image in read.items()} == {
        "wide": 0x80,
        "alpha": 90,
        "bit": 255,
        "rgba": (1, 2, 3),
        "palette": 77,
    }


def test_images_of_two_sizes_are_both_named(tmp_path: Path) -> None:
    image_folder(tmp_path)
    odd = draw(tmp_path / "dog" / "000a.png", 0, (7, 5))
    draw(tmp_path / "dog" / "000b.png", 0, (8, 8))
    message = refused(f"{odd} is 7 x 5", tmp_path)
    assert f"{tmp_path / 'cat' / '000.png'} is 4 x 3" in message


@pytest.mark.parametrize("content", [b"just text", b"", None], ids=["text", "empty", "cut"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    image_folder(tmp_path)
    path = tmp_path / "cat" / "005.png"
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    refused(f"{path}: not a readable image", tmp_path)


def test_folders_that_hold_no_classes(tmp_path: Path) -> None:
    refused("expected one folder of images per class", tmp_path)
    draw(tmp_path / "loose.png", 0)
    refused("expected one folder of images per class", tmp_path)
    draw(tmp_path / "cat" / "a.png", 0)
    refused("at least 2 class folders, got ['cat']", tmp_path)
    (tmp_path / "dog").mkdir()
    refused(f"{tmp_path / 'dog'}: the class folder holds no image", tmp_path)
    draw(tmp_path / "dog" / "a.png", 0)
    refused("at least 10 rows, got 2", tmp_path)


def test_a_training_set_without_a_test_set(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    image_folder(tmp_path / "val")
    refused("holds a folder 'train' but none named 'test'", tmp_path)


def test_a_class_that_is_only_in_the_test_set(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    draw(tmp_path / "test" / "cow" / "a.png", 0)
    refused("the class 'cow' is in the test set but not in the training set", tmp_path)


# CSV


def csv_file(tmp_path: Path, *lines: str, rows: int = 12) -> Path:
    """A header and rows, filled up to ``rows`` with good ones of columns ``a,b,y``."""
    good = [f"{n},{n / 2},{n % 3}" for n in range(rows)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join([*lines, *good[max(0, len(lines) - 1) :]]) + "\n", encoding="utf-8")
    return path


def test_a_table_of_classes(tmp_path: Path) -> None:
    data = load(csv_file(tmp_path, "a,b,y", rows=30))
    assert data.shape == (2,)
    assert not data.is_image
    assert data.columns == ("a", "b")
    assert data.classes == ("0", "1", "2")
    assert (len(data.train_x), len(data.test_x), data.validation) == (24, 6, 2)
    assert torch.bincount(data.test_y).tolist() == [2, 2, 2]
    expected = {(float(n), n / 2, n % 3) for n in range(30)}
    assert pairs(data.train_x, data.train_y) | pairs(data.test_x, data.test_y) == expected


def test_a_table_of_quantities(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,y")
    data = load(path, target="b")
    assert data.columns == ("a", "y")
    assert data.classes is None
    assert data.train_y.dtype == torch.float32
    assert data.train_y.shape == (10, 1)
    expected = {(float(n), float(n % 3), n / 2) for n in range(12)}
    assert pairs(data.train_x, data.train_y) | pairs(data.test_x, data.test_y) == expected


def test_the_task_can_be_chosen(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,y")
    assert load(path, task="regression").classes is None
    classes = load(path, target="b", task="classification").classes
    assert classes is not None
    assert classes[:3] == ("0", "0.5", "1")
    assert classes[-1] == "5.5"


@pytest.mark.parametrize(("distinct", "classification"), [(50, True), (51, False)])
def test_integers_of_many_values_are_quantities(tmp_path: Path, distinct: int, classification: bool) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,y\n" + "".join(f"1.5,{n % distinct}\n" for n in range(250)))
    assert (load(path).classes is not None) == classification


def test_numeric_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,y\n" + "".join(f"{n},{(2, 10, -1)[n % 3]}\n" for n in range(15)))
    assert load(path).classes == ("-1", "2", "10")


def test_text_classes_and_untidy_files(tmp_path: Path) -> None:
    rows = "".join(f'"{n}", {n}e0 ,"big, red"\n\n {n}, "-1", True\n' for n in range(6))
    path = tmp_path / "table.CSV"
    path.write_bytes(("\ufeffa, b ,y\r\n" + rows).encode())
    data = load(str(path))
    assert data.columns == ("a", "b")
    assert data.classes == ("True", "big, red")
    rows_read = pairs(data.train_x, data.train_y) | pairs(data.test_x, data.test_y)
    assert rows_read == {(float(n), float(n), 1) for n in range(6)} | {(float(n), -1.0, 0) for n in range(6)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a,b,y", "1,2,0", "1,tall,0"), "line 3, column 'b': expected a finite number, got 'tall'"),
        (
            ("a,b,y", "", '"1",2,0', "", "1,2,0", "?,2,0"),
            "line 6, column 'a': expected a finite number, got '?'",
        ),
        (("a,b,y", "1,,0"), "line 2, column 'b': expected a finite number, got an empty field"),
        (("a,b,y", "1,nan,0"), "line 2, column 'b': expected a finite number, got 'nan'"),
        (("a,b,y", "1,2,0", "-inf,x,0"), "line 3, column 'a': expected a finite number, got '-inf'"),
        (("a,b,y", "1,1e39,0"), "line 2, column 'b'"),
        (("a,b,y", "1,2,0", "1,2", "1,2,0"), "line 3: expected 3 fields, got 2"),
        (("a,b,y", "1,2,0", "1,2,0,4"), "line 3: expected 3 fields, got 4"),
        (("a,b,y", "1,2,0,4"), "line 2: expected 3 fields, got 4"),
        (("a,b,y", "1,2,"), "line 2, column 'y': the target is an empty field"),
        (("a,b,y", "1,2,NaN"), "line 2, column 'y': the target is 'NaN'"),
        (("a,b,y", "1,2,inf"), "line 2, column 'y': the target is inf"),
        (("a,b,y", "1,2,0", "1,2,O"), "line 3, column 'y': 'O' stands among numbers"),
        (("a,a,y",), "two columns are named 'a'"),
        (("a,,y",), "column 2 has no name"),
        (("0.5,1.5,2",), "must hold the column names"),
    ],
)
def test_what_is_wrong_in_a_table_is_found(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    assert str(tmp_path / "table.csv") in refused(message, csv_file(tmp_path, *lines))


def test_lines_are_counted_in_the_file(tmp_path: Path) -> None:
    lines = ("a,b,'y", '1,2,"two\nlines"', "1,x,one")
    refused("line 4, column 'b'", csv_file(tmp_path, *lines))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,y\n", "at least 10 rows, got 0"),
        (b"a,y\n" + b"1,2\n" * 9, "at least 10 rows, got 9"),
        (b"a,y\n" + b"1,2\n" * 10, "line 2, column 'y': every target is '2'"),
        (b"a y\n" + b"1 2\n" * 10, "got only 'a y'; add a column of features, or separate them by commas, semi"),
        (b"y\n" + b"2\n" * 10, "at least 2 columns, got only 'y'"),
        (b"a,y\n" + b"1,\xff\xfe\n" * 10, "is not UTF-8"),
        (b'a,y\n1,"2\n' + b"1,2\n" * 10, "table.csv"),
        (b"a,y\n1," + b"2" * 200_000, "line 2: field larger than field limit"),
    ],
    ids=["nothing", "no row", "few rows", "one class", "spaces", "one column", "binary", "quote", "long"],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    refused(message, path)


def test_a_header_of_column_numbers_is_a_header(tmp_path: Path) -> None:
    assert load(csv_file(tmp_path, "0,1,2", rows=15)).columns == ("0", "1")


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    message = refused("did you mean 'price'?", csv_file(tmp_path, "rooms,age,price"), target="prise")
    assert "rooms" in message


def test_text_is_no_quantity(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "a,b,y", "1,2,0", "1,2,red")
    refused("line 3, column 'y': regression needs numbers, got 'red'", path, task="regression")


# NPZ


def npz_file(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "arrays.npz"
    with path.open("wb") as file:
        np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return path


def test_arrays_of_a_table(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20.0) / 7
    data = load(npz_file(tmp_path, x=x, y=y, age=np.arange(20)[:, None] % 2))
    assert data.shape == (2,)
    assert data.columns is None
    assert data.classes is None
    assert (len(data.train_x), len(data.test_x)) == (16, 4)
    expected = pairs(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    assert pairs(data.train_x, data.train_y) | pairs(data.test_x, data.test_y) == expected
    assert load(tmp_path / "arrays.npz", target="age").classes == ("0", "1")


def test_arrays_with_a_test_set(tmp_path: Path) -> None:
    path = npz_file(
        tmp_path,
        x=np.arange(12.0)[:, None],
        y=np.array(["no", "yes"] * 6),
        x_test=[[-1.0], [-2.0]],
        y_test=np.array(["yes", "no"]),
    )
    data = load(path)
    assert data.classes == ("no", "yes")
    assert data.test_x.tolist() == [[-1], [-2]]
    assert data.test_y.tolist() == [1, 0]
    assert pairs(data.train_x, data.train_y) == {(float(n), n % 2) for n in range(12)}


def test_arrays_as_keras_names_them(tmp_path: Path) -> None:
    x = np.full((15, 5, 6), 51, np.uint8)
    arrays = {"x_train": x, "y_train": np.arange(15) % 3, "x_test": x[:3], "y_test": np.arange(3)}
    data = load(npz_file(tmp_path, **arrays))
    assert data.shape == (1, 5, 6)
    assert data.train_x.unique().tolist() == pytest.approx([0.2])
    assert data.classes == ("0", "1", "2")
    path = npz_file(tmp_path, x_train=x, colour_train=np.arange(15) % 3)
    assert len(load(path, target="colour").test_x) == 3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((12, 1, 5, 6), (1, 5, 6)),
        ((12, 3, 5, 6), (3, 5, 6)),
        ((12, 5, 6, 3), (3, 5, 6)),
        ((12, 5, 3), (1, 5, 3)),
    ],
)
def test_arrays_of_images(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape)
    data = load(npz_file(tmp_path, x=x, y=np.arange(12) % 2))
    assert data.shape == expected
    channels_last = len(shape) == 4 and shape != (12, *expected)
    first = {tuple(image.flatten().tolist()) for image in torch.cat([data.train_x, data.test_x])}
    image = (x[0].transpose(2, 0, 1) if channels_last else x[0]).astype(np.float32)
    assert tuple(image.flatten().tolist()) in first


GOOD = np.arange(12.0)[:, None]
LABELS = np.arange(12) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": LABELS}, "unknown array 'x'"),
        ({"x": GOOD}, "unknown array 'y'"),
        ({"x": GOOD, "y": LABELS[:-1]}, "'x' holds 12 rows, but 'y' holds 11"),
        ({"x": np.where(GOOD == 7, np.nan, GOOD), "y": LABELS}, "array 'x' holds nan at index (7, 0)"),
        ({"x": GOOD, "y": np.where(LABELS, 0.5, np.inf)}, "array 'y' holds inf at index (0,)"),
        ({"x": GOOD * 1e300, "y": LABELS}, "beyond the range of float32"),
        ({"x": GOOD, "y": GOOD[:, 0] * 1e300}, "array 'y', row 1: the target is 1e+300"),
        ({"x": GOOD.astype(object), "y": LABELS}, "the array 'x' cannot be read (Object arrays"),
        ({"x": GOOD.astype(str), "y": LABELS}, "array 'x' must hold numbers"),
        ({"x": GOOD[:, 0], "y": LABELS}, "array 'x' has shape (12,)"),
        ({"x": GOOD[:, :0], "y": LABELS}, "expected rows with features"),
        ({"x": np.zeros((12, 2, 4, 5)), "y": LABELS}, "with 1 or 3 channels"),
        ({"x": np.full((12, 4, 5), 255.0), "y": LABELS}, "images must be uint8, or float in [0, 1]"),
        (
            {"x": np.zeros((12, 4, 5), int), "y": LABELS},
            "images must be uint8, or float in [0, 1]; got int64",
        ),
        ({"x": GOOD, "y": np.eye(2)[LABELS]}, "save y.argmax(1)"),
        ({"x": GOOD, "y": LABELS * 1j}, "array 'y' must hold numbers or text"),
        ({"x": GOOD, "y": LABELS * 0}, "every target is '0'"),
        ({"x": GOOD[:9], "y": LABELS[:9]}, "at least 10 rows, got 9"),
        ({"x": GOOD, "y": LABELS, "x_test": GOOD}, "unknown array 'y_test'"),
        ({"x": GOOD, "y": LABELS, "x_test": np.zeros((2, 2)), "y_test": [0, 1]}, "but (2,)"),
        ({"x": GOOD, "y": LABELS, "x_test": GOOD[:3], "y_test": [0, 1, 2]}, "the class '2' is in the test set"),
        ({"x": GOOD[:1], "y": LABELS[:1], "x_test": GOOD, "y_test": LABELS * 0.5}, "got 1, 12"),
    ],
)
def test_what_is_wrong_in_arrays_is_found(tmp_path: Path, arrays: dict[str, NDArray[np.generic]], message: str) -> None:
    assert str(tmp_path / "arrays.npz") in refused(message, npz_file(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "cut"])
def test_a_damaged_npz_file(tmp_path: Path, content: bytes | None) -> None:
    path = npz_file(tmp_path, x=GOOD, y=LABELS)
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    refused("not a whole .npz file", path)


def test_a_bit_error_in_an_npz_file(tmp_path: Path) -> None:
    path = npz_file(tmp_path, x=GOOD, y=LABELS)
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(5).tobytes())] ^= 1
    path.write_bytes(content)
    refused("not a whole .npz file", path)


# New inputs for a trained model


def test_images_are_brought_to_the_shape_of_the_model(tmp_path: Path) -> None:
    paths = [draw(tmp_path / "grey.png", 51), draw(tmp_path / "red.png", (255, 0, 0))]
    x, names = read_images(paths, (3, 3, 4))
    assert names == ["grey.png", "red.png"]
    assert x.shape == (2, 3, 3, 4)
    assert x[:, :, 1, 1].flatten().tolist() == pytest.approx([0.2, 0.2, 0.2, 1, 0, 0])
    x, _ = read_images(paths, (1, 3, 4))
    assert x[:, 0, 1, 1].tolist() == pytest.approx([0.2, 0.299], abs=0.003)


def test_an_image_of_another_size_is_resized_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    Image.fromarray(np.array([[0, 100, 200]], np.uint8).repeat(3, 0)).save(path)
    with pytest.warns(UserWarning, match=r"ramp\.png: resized from 3 x 3 to 5 x 3"):
        x, _ = read_images([path], (1, 3, 5))
    assert x.shape == (1, 1, 3, 5)
    row = (x[0, 0, 0] * 255).tolist()
    assert row == sorted(row)
    assert 0 < row[1] < 100  # between the pixels, not one of them


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image to read"):
        read_images([], (1, 3, 4))
    with pytest.raises(ValueError, match="1 or 3 channels, but the model takes 2"):
        read_images([draw(tmp_path / "a.png", 0)], (2, 3, 4))
    with pytest.raises(ValueError, match=r"absent\.png: not a readable image"):
        read_images([tmp_path / "absent.png"], (1, 3, 4))


def test_columns_are_taken_by_name(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("name,b,a\nx,1,2\ny,3,4\n")
    assert read_table(path, ["a", "b"]).tolist() == [[2, 1], [4, 3]]
    with pytest.raises(ValueError, match="lacks the column 'c'; it has: name, b, a"):
        read_table(path, ["a", "c"])
    with pytest.raises(ValueError, match="line 2, column 'name'"):
        read_table(path, None)


def test_arrays_are_taken_by_width(tmp_path: Path) -> None:
    path = npz_file(tmp_path, x=np.arange(6).reshape(3, 2))
    assert read_table(path, ["a", "b"]).tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"expected the array 'x' in the shape \(N, 3\), got \(3, 2\)"):
        read_table(path, ["a", "b", "c"])


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="holds no row"):
        read_table(tmp_path / "empty.csv", ["a"])
    with pytest.raises(ValueError, match=r"expected a table in a \.csv or \.npz file, got the type '\.txt'"):
        read_table(tmp_path / "table.txt", None)


def test_inputs_of_every_kind(tmp_path: Path) -> None:
    image_folder(tmp_path / "images", each=1)
    x, names = read_inputs(tmp_path / "images", shape=(1, 3, 4))
    assert names == ["000.png", "000.png"]
    assert (x[:, 0, 0, 0] * 255).round().tolist() == [0, 100]
    x, names = read_inputs(tmp_path / "images" / "dog" / "000.png", shape=(1, 3, 4))
    assert names == ["000.png"]
    x, names = read_inputs(npz_file(tmp_path, x=np.full((2, 3, 4), 255, np.uint8)), shape=(1, 3, 4))
    assert torch.equal(x, torch.ones(2, 1, 3, 4))
    assert names == ["row 1", "row 2"]
    (tmp_path / "new.csv").write_text("b,a\n1,2\n")
    x, names = read_inputs(tmp_path / "new.csv", shape=(1,), columns=["a"])
    assert x.tolist() == [[2]]


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("b,a\n1,2\n")
    with pytest.raises(ValueError, match=r"inputs have shape \(2,\), but the model takes \(3,\)"):
        read_inputs(tmp_path / "new.csv", shape=(3,))
    with pytest.raises(ValueError, match="expected a table"):
        read_inputs(draw(tmp_path / "a.png", 0), shape=(3,))
    with pytest.raises(FileNotFoundError, match="absent"):
        read_inputs(tmp_path / "absent", shape=(3,))


def test_data_cannot_be_changed_by_accident() -> None:
    x, y = torch.zeros(3, 2), torch.zeros(3, 1)
    data = Data("mine", x, y, x, y, None, 1)
    with pytest.raises(AttributeError):
        data.name = "yours"  # type: ignore[misc]
