"""What is imported, and when: names at first use, commands by name, and no library that a command does not use."""

import ast
import json
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gmlayers
from gmlayers.cli import COMMANDS, commands, main
from gmlayers.experiments import models, names, trainer
from gmlayers.functional import ACTIVATIONS

LISTED = {"matplotlib", "numpy", "pandas", "scipy", "torch"}
DRAWN = {"matplotlib", "pandas"}
NETWORK = {"pooch", "requests"}
OTHERS = {"ot", "ray", "tensorboard"}
TINY = ["--epochs", "1", "--width", "4"]


def loaded(*arguments):
    """Run a command in a process of its own; return the top-level modules that it has imported."""
    code = f"""
import json, sys
from gmlayers.cli import main
try:
    main({[str(a) for a in arguments]!r})
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Data of one's own: those of scikit-learn bring all that scikit-learn imports."""
    file = tmp_path_factory.mktemp("start_up") / "images.npz"
    g = np.random.default_rng(0)
    np.savez(file, x=g.integers(0, 255, (40, 8, 8)).astype(np.uint8), y=np.arange(40) % 2)
    return file


@pytest.fixture(scope="module")
def run(images):
    folder = images.parent / "run"
    main(["train", str(images), *TINY, "--out", str(folder)])
    return folder


def test_importing_gmlayers_imports_no_torch():
    code = "import sys, gmlayers; assert dir(gmlayers); assert 'torch' not in sys.modules; gmlayers.GMLayer(2, 1, 3)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_help_imports_no_library(arguments):
    assert not loaded(*arguments) & (LISTED | {"rich", "tyro"})


@pytest.mark.parametrize("arguments", [["list"], ["list", "--help"]])
def test_list_imports_nothing_heavy(arguments):
    assert not loaded(*arguments) & (LISTED | {"PIL", "sklearn"} | NETWORK | OTHERS)


@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "predict"])
def test_the_help_of_a_command_imports_what_the_command_uses(command):
    assert not loaded(command, "--help") & ({"scipy", "sklearn"} | DRAWN | NETWORK | OTHERS)


def test_the_help_of_the_demo_does_not_import_its_data():
    assert not loaded("demo", "--help") & ({"scipy", "sklearn"} | NETWORK | OTHERS)


def test_training_neither_draws_nor_downloads(images, tmp_path):
    modules = loaded("train", images, *TINY, "--out", tmp_path / "run")
    assert not modules & ({"scipy", "sklearn"} | DRAWN | NETWORK | OTHERS)
    assert "torch" in modules


def test_training_on_digits_imports_scikit_learn(tmp_path):
    modules = loaded("train", "digits", *TINY, "--out", tmp_path / "run")
    assert "sklearn" in modules
    assert not modules & ({"matplotlib"} | NETWORK | OTHERS)


def test_logs_for_tensorboard_need_tensorboard(images, tmp_path):
    assert "tensorboard" in loaded("train", images, *TINY, "--tensorboard", "--out", tmp_path / "run")


def test_judging_and_predicting_do_not_draw(run, tmp_path):
    assert not loaded("evaluate", run) & ({"scipy", "sklearn"} | DRAWN | NETWORK | OTHERS)
    image = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(image)
    assert not loaded("predict", run, image) & ({"scipy", "sklearn"} | DRAWN | NETWORK | OTHERS)


def test_comparing_draws_only_when_asked(run, tmp_path):
    assert not loaded("compare", run) & ({"scipy", "sklearn"} | DRAWN | NETWORK | OTHERS)
    assert "matplotlib" in loaded("compare", run, "--figure", tmp_path / "a.png")


def test_every_command_is_where_the_table_says():
    for place, summary in COMMANDS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))
        assert summary.endswith(".")
        assert len(summary) < 80


# --- what `gmlayers list` knows without importing it ---------------------------------------------------------


def test_the_lists_are_those_of_the_library():
    assert list(names.MODELS) == list(models.MODELS)
    assert tuple(ACTIVATIONS) == names.ACTIVATIONS
    assert tuple(trainer.OPTIMIZERS) == names.OPTIMIZERS
    assert tuple(trainer.SCHEDULES) == names.SCHEDULES


# --- other distributions -------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a distribution that brings a command and a table for `gmlayers list`."""
    (tmp_path / "plugged.py").write_text(
        "TABLE = {'greet': ('plugged_greeting:greet', 'Greet somebody.'), 'train': ('nowhere:at_all', 'Hide ours.')}\n"
        "def sections():\n    return [('greetings', [('hello', 'in the morning')])]\n"
    )
    (tmp_path / "plugged_greeting.py").write_text(
        "def greet(name: str) -> None:\n    '''Greet somebody.'''\n    print(f'hello {name}')\n"
    )
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gmlayers.commands]\nplugged = plugged:TABLE\n\n[gmlayers.listings]\nplugged = plugged:sections\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plugin")
def test_another_distribution_brings_a_command(capsys):
    main(["--help"])
    assert "  greet      Greet somebody." in capsys.readouterr().out
    assert "plugged_greeting" not in sys.modules
    main(["greet", "--name", "Ada"])
    assert capsys.readouterr().out == "hello Ada\n"
    assert commands()["train"] == COMMANDS["train"]


@pytest.mark.usefixtures("plugin")
def test_another_distribution_is_listed(capsys):
    main(["list"])
    out = capsys.readouterr().out
    assert "greetings" in out
    assert "in the morning" in out


def test_a_command_of_studies_that_are_not_installed_says_how_to_get_them(capsys, monkeypatch):
    monkeypatch.setattr("gmlayers.cli.COMMANDS", {"list": COMMANDS["list"]})
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "fig2"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err == (
        "gmlayers: reproduce belongs to the studies, which are not installed; in a clone: pip install ./studies\n"
    )


# --- names of the package ------------------------------------------------------------------------------------


def test_the_stub_has_the_names_that_there_are():
    package = Path(gmlayers.__file__).parent
    assert (package / "py.typed").exists()
    tree = ast.parse((package / "__init__.pyi").read_text(encoding="utf-8"))
    imported = {
        alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    (listed,) = (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    assert listed == gmlayers.__all__
    assert set(imported) == {*gmlayers.__all__, "nn"}
    for name, module in imported.items():
        assert getattr(gmlayers, name) is getattr(import_module(module), name)


def test_names_are_found_in_every_way():
    space: dict[str, object] = {}
    exec("from gmlayers import *", space)
    assert set(gmlayers.__all__) <= set(space)
    assert "nn" not in space
    assert space["GMLayer"] is gmlayers.nn.GMLayer is gmlayers.GMLayer
    assert {*gmlayers.__all__, "nn", "__version__"} <= set(dir(gmlayers))
    assert gmlayers.__version__ == gmlayers.__version__.strip() != ""
    with pytest.raises(AttributeError, match="module 'gmlayers' has no attribute 'GMLayr'"):
        _ = gmlayers.GMLayr
    with pytest.raises(ImportError, match="cannot import name 'GMLayr'"):
        exec("from gmlayers import GMLayr")


def test_a_layer_is_pickled():
    layer = gmlayers.GMLayer(3, 2, 4)
    x = torch.randn(5, 3)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_version_is_printed(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"gmlayers {gmlayers.__version__}\n"


# --- without the extras ----------------------------------------------------------------------------------------

BLOCK = """
import sys
from importlib.abc import MetaPathFinder

EXTRAS = {extras!r}

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""
EXTRAS = {  # all but numpy, which comes with torch
    "PIL",
    "accelerate",
    "filelock",
    "matplotlib",
    "pandas",
    "pooch",
    "ray",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorboard",
    "tyro",
}


def without_extras(code):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK.format(extras=EXTRAS) + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_core_needs_torch_alone():
    code = """
import torch, gmlayers
layer = gmlayers.GMLayer(4, 2, 3)
layer(torch.randn(5, 4)).sum().backward()
gmlayers.convert.to_diagonal(gmlayers.GMLayer.paper(4, 2, 3))
mixture = gmlayers.diagnostics.marginal(layer)
gmlayers.diagnostics.displacement(mixture, mixture)
gmlayers.GMNM.from_data(torch.randn(9, 2), 1, 4)(torch.zeros(5, 2)).sum().backward()
print("fine")
"""
    result = without_extras(code)
    assert result.stdout.strip() == "fine", result.stderr


def test_the_block_of_the_test_above_blocks():
    assert "No module named 'rich'" in without_extras("import rich").stderr


def test_the_command_line_says_what_to_install():
    result = without_extras("from gmlayers.cli import main; main(['list'])")
    assert result.returncode == 2
    assert "pip install '.[experiments]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_and_bad_commands_need_no_library():
    result = without_extras("from gmlayers.cli import main; main(['--help'])")
    assert result.returncode == 0, result.stderr
    assert "commands:" in result.stdout
    result = without_extras("from gmlayers.cli import main; main(['trian'])")
    assert result.returncode == 2
    assert "unknown command 'trian'; did you mean 'train'?" in result.stderr


def test_importing_has_no_side_effects():
    code = """
import torch
state, threads, grad = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
dtype = torch.get_default_dtype()
import gmlayers
assert torch.equal(state, torch.get_rng_state())
assert (threads, grad, dtype) == (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype())
assert not any(name.startswith("gmlayers.experiments") for name in __import__("sys").modules)
print("fine")
"""
    result = without_extras(code)
    assert result.stdout.strip() == "fine", result.stderr
