"""Data sets for experiments: public ones by name, your own from a folder of images, a CSV or an NPZ file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gmlayers._names import unknown
from gmlayers.experiments import _readers, _tables
from gmlayers.experiments._numbers import Decimal, is_plain
from gmlayers.experiments.names import DATA as NAMES

Kind = Literal["auto", "classification", "regression"]

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DIGITS_TEST_ROWS = 360  # the last rows of scikit-learn's digits; harder than a random fifth, and the same for all
MOST_INTEGER_CLASSES = 50  # a target of integers with more distinct values is taken for a quantity
MOST_DISTINCT = 0.2  # of the rows; what looks like numbers and has more distinct values is no class unless one says so
MOST_DISTINCT_WORDS = 0.5  # the same for words: most classes would have a single row
MISSING = ("na", "n/a", "#n/a", "#na", "null")  # what programs write where there is no value
LIKE_A_NUMBER = re.compile(r"\W*\d")  # 12 kg, (1,234) and 2020-01-01 as well
SQUARABLE = 1e-18, 1e18  # a target that spreads over less or more than this has no variance in float32
FEWEST_ROWS = 10
SEED = 0  # of the split: the same file is always split in the same way


@dataclass(frozen=True)
class Data:
    """A data set, split into training and test rows.

    Attributes:
        name: the name or the path that it was loaded by.
        train_x: training inputs ``(N, *shape)``, float32; images lie in [0, 1], tables are raw.
        train_y: training targets: int64 ``(N,)`` for classification, float32 ``(N, 1)`` for regression.
        test_x: test inputs.
        test_y: test targets.
        classes: names of the classes, or None for regression.
        validation: how many of the last training rows are for choosing everything that is chosen.
        columns: names of the features of a table, in order, where they have names.

    Example:
        >>> data = load("digits")
        >>> data.shape, data.is_image, len(data.train_x), data.validation
        ((1, 8, 8), True, 1437, 143)
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...] | None
    validation: int
    columns: tuple[str, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, such as ``(1, 28, 28)`` or ``(13,)``."""
        return tuple(self.train_x.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether an input is an image ``(C, H, W)``."""
        return len(self.shape) == 3


def load(
    source: str | Path,
    *,
    target: str | None = None,
    task: Kind = "auto",
    decimal: Decimal = "auto",
    say: Callable[[str], object] | None = None,
) -> Data:
    """Load a data set by name or from your own files.

    A string that is one of :data:`NAMES` (in any case) is that data set; a ``Path``, or a string such as
    ``"./mnist"``, is always a path. What is accepted:

    * **digits** comes with scikit-learn. The last 360 rows are the test set.
    * **mnist**, **fashion-mnist**, **cifar10**, **cifar100** are looked for in the folder that the
      environment variable ``GMLAYERS_DATA`` names (in ``mnist/``, ``fashion-mnist/``, ``cifar10/``,
      ``cifar100/``; the CIFAR archives also directly in it), then in the cache (``GMLAYERS_CACHE``, or the
      usual place of the operating system), and are else downloaded. Every file is verified by its checksum.
      CIFAR is read from its *binary* version: the Python version is a pickle, and a pickle from elsewhere
      can run any code, so none is ever opened. CIFAR-100 has its 100 fine labels.
    * **A folder of images**, PNG, JPEG, BMP, GIF, WebP or TIFF: ``train/CLASS/*`` and ``test/CLASS/*``, or
      ``CLASS/*``. All images have one size. They are grey if all files are grey, else colour. Hidden files
      are ignored.
    * **A ``.csv`` file** in UTF-8 with column names in the first line; commas, semicolons, tabs or bars
      separate the fields. ``target`` names the column to predict, the last one if not given; every other
      column is a feature and holds numbers. They may be written as people write them: ``1,234.50``,
      ``1.234,50 €``, ``1 234``, ``12 %`` (which is 12).
    * **A ``.npz`` file** with arrays ``x`` and ``y``, if you like with ``x_test`` and ``y_test``, or with
      ``x_train``, ``y_train``, ``x_test`` and ``y_test``. A two-dimensional ``x`` is a table; ``(N, H, W)``,
      ``(N, C, H, W)`` or ``(N, H, W, C)`` are images, uint8 or float in [0, 1]. ``target="age"`` takes
      ``age`` (``age_train``, ``age_test``) in place of ``y``.

    Your own files are shuffled with a fixed seed, and evenly: every run of consecutive rows holds about the
    share of each class that the whole has. The last 20 % are then the test set, unless the files have one
    already. Of the training rows the last 10 % (10 000 for MNIST and Fashion-MNIST) are for validation.

    Args:
        source: a name of :data:`NAMES` or a path.
        target: the column or array to predict, for CSV and NPZ files.
        task: ``"classification"``, ``"regression"``, or ``"auto"``: text is classified, and so are integers
            with at most 50 distinct values; all else is regression. What may be either is an error that asks:
            such integers with more distinct values than a fifth of the rows, text of digits that cannot be
            read with as many, and words with more than half.
        decimal: what stands before the decimals in a table, ``"point"`` or ``"comma"``. ``"auto"`` finds out,
            and asks by an error where ``1,234`` may be 1234 or 1.234 and no other number of the file decides.
        say: called with one line that says how every column of a table, or array of an NPZ file, was understood.

    Returns:
        The data set.

    Raises:
        ValueError: if the name or the type of file is unknown, or the data are not as described above; the
            message names the file and the place in it.
        ConnectionError: if a file has to be downloaded and no server gives it.

    Example:
        >>> load("digits").classes[:3]
        ('0', '1', '2')
    """
    if task not in get_args(Kind):
        raise unknown("task", task, get_args(Kind))
    if decimal not in get_args(Decimal):
        raise unknown("decimal", decimal, get_args(Decimal))
    if isinstance(source, str) and source.lower() in NAMES:
        _refuse_options(source, target, task, decimal)
        return _load_known(source.lower())
    path = Path(source).expanduser()
    if path.is_dir():
        _refuse_options(source, target, task, decimal)
        return _load_folder(path, str(source))
    if not path.exists():
        raise ValueError(
            f"{unknown('data set', str(source), NAMES)}; the path of a folder of images, of a .csv or of a "
            f".npz file is accepted too, but there is nothing at {str(path)!r}"
        )
    suffix = path.suffix.lower()
    if suffix == ".csv":
        data, line = _load_csv(path, str(source), target, task, decimal)
    elif suffix == ".npz":
        data, line = _load_npz(path, str(source), target, task, decimal)
    else:
        raise ValueError(f"{path}: unsupported type {suffix!r}; supported are .csv, .npz and a folder of images")
    if say is not None:
        say(line)
    return data


def read_inputs(
    path: str | Path,
    *,
    shape: tuple[int, ...],
    columns: Sequence[str] | None = None,
    decimal: Decimal = "auto",
    say: Callable[[str], object] | None = None,
) -> tuple[Tensor, list[str]]:
    """Read new inputs for a trained model: an image, a folder of images, a CSV or an NPZ file.

    Args:
        path: the file or folder. In an NPZ file the array ``x`` is read.
        shape: the shape of one input, :attr:`Data.shape` of the training data.
        columns: the names of the features, :attr:`Data.columns` of the training data.
        decimal: as for :func:`load`.
        say: called with one line that says how the columns of a CSV file were understood.

    Returns:
        Inputs ``(N, *shape)``, and what to call each: the name of the file, or ``row 1`` and on.

    Raises:
        ValueError: if the file does not hold inputs of this shape.
        FileNotFoundError: if there is no such file.

    Example:
        >>> x, names = read_inputs("new/", shape=(1, 28, 28))  # doctest: +SKIP
        >>> names  # doctest: +SKIP
        ['first.png', 'second.png']
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r} to read inputs from")
    suffix = path.suffix.lower()
    if len(shape) == 3 and suffix not in (".csv", ".npz"):
        return read_images(_readers.image_files(path) if path.is_dir() else [path], (shape[0], shape[1], shape[2]))
    if len(shape) == 3 and suffix == ".npz":
        x = _scaled(_readers.npz_features(path, _readers.read_npz(path), "x"))
    else:
        x = read_table(path, columns, decimal=decimal, say=say)
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"{path}: inputs have shape {tuple(x.shape[1:])}, but the model takes {tuple(shape)}")
    return x, [f"row {row + 1}" for row in range(len(x))]


def read_images(paths: Sequence[str | Path], shape: tuple[int, int, int]) -> tuple[Tensor, list[str]]:
    """Read image files as inputs of a model that was trained on images of ``shape``.

    An image is turned to grey or to colour as the model needs it. One of another size is resized (bilinear),
    with a warning.

    Args:
        paths: the files.
        shape: ``(C, H, W)``, with 1 channel for grey or 3 for colour.

    Returns:
        Images ``(N, C, H, W)``, float32 in [0, 1], and the names of the files.

    Raises:
        ValueError: if there is no file, a file is no image, or ``C`` is neither 1 nor 3.

    Example:
        >>> x, names = read_images(["three.png"], (1, 28, 28))  # doctest: +SKIP
        >>> x.shape  # doctest: +SKIP
        torch.Size([1, 1, 28, 28])
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"images have 1 or 3 channels, but the model takes {channels}; give it an .npz file")
    if not paths:
        raise ValueError("got no image to read; give at least one image file")
    images = []
    for path in map(Path, paths):
        image = _readers.read_image(path).convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            warnings.warn(
                f"{path}: resized from {image.width} x {image.height} to {width} x {height} (width x height)",
                stacklevel=2,
            )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.array(image)).reshape(height, width, channels).permute(2, 0, 1))
    return _scaled(torch.stack(images)), [Path(path).name for path in paths]


def read_table(
    path: str | Path,
    columns: Sequence[str] | None,
    *,
    decimal: Decimal = "auto",
    say: Callable[[str], object] | None = None,
) -> Tensor:
    """Read the features of a table, from a CSV file by name or from the array ``x`` of an NPZ file.

    Args:
        path: the ``.csv`` or ``.npz`` file.
        columns: the features in the order of training. Other columns of a CSV file are ignored, whatever
            they hold. None takes every column.
        decimal: as for :func:`load`.
        say: called with one line that says how the columns of a CSV file were understood.

    Returns:
        The features ``(N, columns)``, float32.

    Raises:
        ValueError: if a column is missing, a value is no finite number, there is no row, or the file is of
            another type.

    Example:
        >>> read_table("houses.csv", ["rooms", "age"])  # doctest: +SKIP
        tensor([[3., 25.]])
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".csv":
        table = _tables.open_table(path)
        wanted = table.header if columns is None else tuple(columns)
        there = set(table.header)
        missing = [column for column in wanted if column not in there]
        if missing:
            raise ValueError(f"{path} lacks the column {missing[0]!r}; it has: {_tables.listed(table.header)}")
        if not table.rows:
            raise ValueError(f"{path} holds no row; expected at least one")
        x, _, notes = _tables.read_columns(table, wanted, None, decimal)
        if say is not None:
            used = set(wanted)
            notes.ignored = [name for name in table.header if name not in used]
            notes.ranges[0], notes.ranges[1] = 0, 1  # a few new rows are often the same
            say(_line(table, notes))
    elif suffix == ".npz":
        x = _readers.npz_features(path, _readers.read_npz(path), "x")
        if x.ndim != 2 or (columns is not None and x.shape[1] != len(columns)):
            width = "features" if columns is None else len(columns)
            raise ValueError(f"{path}: expected the array 'x' in the shape (N, {width}), got {tuple(x.shape)}")
        if not len(x):
            raise ValueError(f"{path} holds no row; expected at least one")
    else:
        raise ValueError(f"{path}: expected a table in a .csv or .npz file, got the type {suffix!r}")
    return x


# The public data sets


def _refuse_options(source: str | Path, target: str | None, task: Kind, decimal: Decimal) -> None:
    """Refuse what means nothing for images with classes."""
    if target is not None:
        raise ValueError(f"target={target!r} is for .csv and .npz files; {str(source)!r} has its own classes")
    if decimal != "auto":
        raise ValueError(f"decimal={decimal!r} is for .csv and .npz files; {str(source)!r} holds images")
    if task == "regression":
        raise ValueError(f"task='regression' is for .csv and .npz files; {str(source)!r} has classes")


def _load_known(name: str) -> Data:
    """Load one of the known data sets, in the order that it is published in."""
    if name == "digits":
        return _load_digits()
    from gmlayers.experiments import _download  # here, because what is on disk needs no client of the network

    paths = [_download.obtain(remote) for remote in _download.REMOTES[name]]
    if name in ("mnist", "fashion-mnist"):
        classes = DIGITS if name == "mnist" else CLOTHES
        train = _readers.read_idx_pair(paths[0], paths[1], len(classes))
        test = _readers.read_idx_pair(paths[2], paths[3], len(classes))
        validation = len(train[0]) // 6  # 10 000 of 60 000
    elif name == "cifar10":
        batches = [f"data_batch_{index}.bin" for index in range(1, 6)]
        train, test, classes = _readers.read_cifar(paths[0], batches, "test_batch.bin", "batches.meta.txt", 1)
        validation = _tenth(len(train[0]))
    else:
        # A record begins with the coarse label and then the fine one.
        train, test, classes = _readers.read_cifar(paths[0], ["train.bin"], "test.bin", "fine_label_names.txt", 2)
        validation = _tenth(len(train[0]))
    return Data(name, _scaled(train[0]), train[1], _scaled(test[0]), test[1], classes, validation)


def _load_digits() -> Data:
    """Load the digits that come with scikit-learn."""
    from sklearn.datasets import load_digits  # here, because nothing else needs it and it is slow to import

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(np.asarray(pixels, dtype=np.float32)).reshape(-1, 1, 8, 8) / 16
    y = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    split = len(x) - DIGITS_TEST_ROWS
    return Data("digits", x[:split], y[:split], x[split:], y[split:], DIGITS, _tenth(split))


# Your own data


def _load_folder(path: Path, name: str) -> Data:
    """Load a folder of class folders."""
    x, y, classes, training_rows = _readers.read_image_folder(path)
    _check_rows(name, len(x))
    return _split(name, x, y, classes, training_rows)


def _load_csv(path: Path, name: str, target: str | None, task: Kind, decimal: Decimal) -> tuple[Data, str]:
    """Load a table with column names, and say how it was understood."""
    table = _tables.open_table(path)
    if target is None:
        target = table.header[-1]
    features = tuple(column for column in table.header if column != target)
    if len(features) == len(table.header):
        raise ValueError(f"{path}: {unknown('target column', target, table.header)}")
    if not features:
        raise ValueError(
            f"{path}: expected at least 2 columns, got only {target!r}; add a column of features, or separate them by "
            f"{', '.join(_tables.SEPARATORS.values())}"
        )
    _check_rows(name, table.rows)
    x, values, notes = _tables.read_columns(table, features, target, decimal)
    y, classes = _encode(values, task, f"{path}, column {target!r}", lambda row: table.place(row, target))
    said = f"Target: {_tables.shorter(target)}, {_understood(values, task, classes)}"
    return _split(name, x, y, classes, None, features), _line(table, notes, said)


def _line(table: _tables.Table, notes: _tables.Notes, *more: str) -> str:
    """How a table was understood, in one line."""
    separated = f" separated by {_tables.SEPARATORS[table.separator]}" * (table.separator != ",")
    return ". ".join([f"{table.path}: {table.rows:,} rows{separated}", *notes.sentences(), *more])


def _understood(values: NDArray[Any], task: Kind, classes: tuple[str, ...] | None) -> str:
    """How a target was understood, and the option that changes it where there is a choice."""
    if classes is None:
        few = len(np.unique(values)) <= MOST_INTEGER_CLASSES
        change = " (--task classification takes it as classes)" if task == "auto" and (few or _integral(values)) else ""
        return f"a number from {values.min():.6g} to {values.max():.6g}{change}"
    change = " (--task regression takes it as a number)" if task == "auto" and values.dtype.kind != "U" else ""
    return f"one of {len(classes)} classes: {_tables.listed(classes)}{change}"


def _integral(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iu"


def _load_npz(path: Path, name: str, target: str | None, task: Kind, decimal: Decimal) -> tuple[Data, str]:
    """Load arrays, with or without a test set of their own, and say how they were understood."""
    arrays = _readers.read_npz(path)
    mark = "_train" if "x_train" in arrays else ""
    base = target or "y"
    x, values = _npz_pair(path, arrays, f"x{mark}", f"{base}{mark}")
    rows = len(x)
    if "x_test" in arrays:
        test_x, test_values = _npz_pair(path, arrays, "x_test", f"{base}_test")
        if test_x.shape[1:] != x.shape[1:] or test_x.dtype != x.dtype:
            shapes = [f"{tuple(part.shape[1:])} ({part.dtype})" for part in (x, test_x)]
            raise ValueError(f"{path}: one input is {shapes[0]} for training but {shapes[1]} for the test")
        x, values = torch.cat([x, test_x]), np.concatenate([values, test_values])
    _check_rows(name, len(x))

    def where(row: int) -> str:
        return f"{path}: array {base + mark!r}, row {row}" if row < rows else f"{path}: {base}_test, row {row - rows}"

    how = None
    if values.dtype.kind == "U":
        values, how = _tables.text_target(str(path), base + mark, values, decimal)
    y, classes = _encode(values, task, f"{path}: array {base + mark!r}", where)
    if classes is not None and rows < len(x):
        unseen = sorted(set(y[rows:].tolist()) - set(y[:rows].tolist()))
        if unseen:
            raise ValueError(f"{path}: the class {classes[unseen[0]]!r} is in the test set but not in the training set")
    shape = " x ".join(f"{size:,}" for size in x.shape)
    read = f" ({how})" if how else ""
    line = f"{path}: array x{mark} {shape}. Target: {base}{mark}{read}, {_understood(values, task, classes)}"
    return _split(name, x, y, classes, rows if rows < len(x) else None), line


def _npz_pair(path: Path, arrays: dict[str, NDArray[Any]], x_name: str, y_name: str) -> tuple[Tensor, NDArray[Any]]:
    """Inputs and targets of equal length."""
    x = _readers.npz_features(path, arrays, x_name)
    values = _readers.npz_target(path, arrays, y_name)
    if len(x) != len(values):
        raise ValueError(f"{path}: {x_name!r} holds {len(x)} rows, but {y_name!r} holds {len(values)}")
    if x[:1].numel() == 0:
        raise ValueError(f"{path}: {x_name!r} has the shape {tuple(x.shape)}; expected rows with features")
    return x, values


def _encode(
    values: NDArray[Any], task: Kind, what: str, where: Callable[[int], str]
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Targets as tensors, and the names of the classes, if there are classes.

    Args:
        values: numbers or text, ``(N,)``.
        task: what they are, or ``"auto"``.
        what: names the target in a message.
        where: says where in the file a row is.
    """
    text = values.dtype.kind == "U"
    if text and task != "classification":
        _refuse_words_among_numbers(values, task, where)
    if not text:
        with np.errstate(over="ignore"):
            wrong = ~np.isfinite(values.astype(np.float32))
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"{where(row)}: the target is {values[row]}; expected a finite number")
    distinct, codes = np.unique(values, return_inverse=True)
    few_integers = values.dtype.kind in "iu" and len(distinct) <= MOST_INTEGER_CLASSES
    if task == "regression" or (task == "auto" and not text and not few_integers):
        _refuse_what_float32_loses(values, what)
        return torch.from_numpy(values.astype(np.float32))[:, None], None
    if task == "auto":
        _ask(distinct, len(values), what)
    if len(distinct) < 2:
        raise ValueError(f"{where(0)}: every target is {str(distinct[0])!r}; classification needs at least 2 classes")
    return torch.from_numpy(codes.reshape(-1).astype(np.int64)), tuple(map(_class_name, distinct))


def _ask(distinct: NDArray[Any], rows: int, what: str) -> None:
    """Refuse to guess that a target with many values is the name of a class."""
    found = f"{what}: the target has {len(distinct)} different values in {rows} rows"
    example = _tables.shown(str(distinct[0]))
    if distinct.dtype.kind != "U":
        if len(distinct) > MOST_DISTINCT * rows:
            raise ValueError(
                f"{found}, whole numbers such as {example}; say task='regression' (--task regression) if they are "
                "quantities, or task='classification' (--task classification) if they are classes"
            )
        return
    digits = sum(map(bool, map(LIKE_A_NUMBER.match, distinct.tolist()))) > len(distinct) / 2
    if len(distinct) > (MOST_DISTINCT if digits else MOST_DISTINCT_WORDS) * rows:
        how = "that cannot be read as numbers, " if digits else ""
        first = "write them as plain numbers" if digits else "choose another column by target=... (--target)"
        raise ValueError(
            f"{found} {how}such as {example}; {first}, or say task='classification' (--task classification) if they "
            "are names of classes"
        )


def _refuse_what_float32_loses(values: NDArray[Any], what: str) -> None:
    """Refuse quantities of which float32 keeps little, or has no variance."""
    low, high = np.array([values.min()], np.float64), np.array([values.max()], np.float64)
    if _tables.coarse(low, high)[0]:
        raise ValueError(
            f"{what}: the target lies between {low[0]:.15g} and {high[0]:.15g}, where float32 keeps less than "
            f"{_tables.STEPS} different numbers; subtract the least"
        )
    if low[0] < high[0] and not SQUARABLE[0] <= high[0] - low[0] <= SQUARABLE[1]:
        raise ValueError(
            f"{what}: the target spreads over {high[0] - low[0]:.3g}, of which float32 has no square; multiply it by a "
            "power of ten"
        )


def _refuse_words_among_numbers(values: NDArray[Any], task: Kind, where: Callable[[int], str]) -> None:
    """Refuse text for regression, and what looks like numbers with a slip or a gap among them."""
    wrong = [row for row, text in enumerate(values.tolist()) if not is_plain(text)]
    row = wrong[0] if wrong else 0
    if task == "regression":
        raise ValueError(f"{where(row)}: regression needs numbers, got {str(values[row])!r}")
    if len(wrong) < len(values) / 2:
        raise ValueError(
            f"{where(row)}: {str(values[row])!r} stands among numbers; correct it, or say "
            "task='classification' (--task classification) if all of them are names of classes"
        )
    missing = next((row for row in wrong if str(values[row]).lower() in MISSING), None)
    if missing is not None:
        raise ValueError(
            f"{where(missing)}: the target is {str(values[missing])!r}, which may say that it is missing; fill it in "
            "or remove the row, or say task='classification' (--task classification) if it is the name of a class"
        )


def _class_name(value: np.generic) -> str:
    """The name of a class: 3 and not 3.0."""
    return str(int(value)) if isinstance(value, np.floating) and value.is_integer() else str(value)


def _check_rows(name: str, rows: int) -> None:
    """Refuse data too few to split."""
    if rows < FEWEST_ROWS:
        raise ValueError(f"{name}: expected at least {FEWEST_ROWS} rows, got {rows}; add more")


def _split(
    name: str,
    x: Tensor,
    y: Tensor,
    classes: tuple[str, ...] | None,
    training_rows: int | None,
    columns: tuple[str, ...] | None = None,
) -> Data:
    """Shuffle and split rows; the first ``training_rows`` are for training if the files say so."""
    rows = len(x)
    if training_rows is None:
        order = _shuffled_evenly(y if classes else None, rows)
        split = rows - round(rows / 5)
    else:
        split = training_rows
        if not 2 <= split < rows:
            raise ValueError(
                f"{name}: expected 2 or more training and 1 or more test rows, got {split}, {rows - split}"
            )
        training = _shuffled_evenly(y[:split] if classes else None, split)
        order = torch.cat([training, torch.arange(split, rows)])
    train, test = order[:split], order[split:]
    return Data(name, _scaled(x[train]), y[train], _scaled(x[test]), y[test], classes, _tenth(split), columns)


def _shuffled_evenly(labels: Tensor | None, rows: int) -> Tensor:
    """A seeded random order in which every class is spread evenly, so that a tail has about its share of each."""
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(rows, generator=generator)
    if labels is None:
        return order
    order = order[labels[order].argsort(stable=True)]  # by class, at random within one
    label = labels[order]
    counts = torch.bincount(label)
    rank = torch.arange(rows) - (counts.cumsum(0) - counts)[label]
    # A class with n rows takes the places u/n, (1 + u)/n, ... of the interval from 0 to 1, with its own u.
    place = (rank + torch.rand(len(counts), generator=generator)[label]) / counts[label]
    return order[place.argsort(stable=True)]


def _tenth(rows: int) -> int:
    """A tenth of the training rows, at least one: those that choose."""
    return max(1, rows // 10)


def _scaled(x: Tensor) -> Tensor:
    """Bytes from 0 to 255 as float32 from 0 to 1; all else as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x
