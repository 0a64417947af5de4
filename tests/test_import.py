import subprocess
import sys

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


def run(code):
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
    result = run(code)
    assert result.stdout.strip() == "fine", result.stderr


def test_the_block_of_the_test_above_blocks():
    assert "No module named 'rich'" in run("import rich").stderr


def test_the_command_line_says_what_to_install():
    result = run("from gmlayers.cli import main; main(['list'])")
    assert result.returncode == 2
    assert "pip install '.[experiments]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_and_bad_commands_need_no_library():
    result = run("from gmlayers.cli import main; main(['--help'])")
    assert result.returncode == 0, result.stderr
    assert "commands:" in result.stdout
    result = run("from gmlayers.cli import main; main(['trian'])")
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
    result = run(code)
    assert result.stdout.strip() == "fine", result.stderr
