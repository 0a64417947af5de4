"""Scripts that readers start from run, in a form of seconds."""

import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"

RUNS = {
    "convert_llama.py": (["--steps", "2"], "2 blocks converted; largest change "),
    "image_blocks.py": (["--epochs", "1", "--seeds", "2"], "Gaussian neurons"),
    "byte_model.py": (["--steps", "2", "--width", "16"], "GMFeedForward"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are no part of the source distribution")
@pytest.mark.parametrize("name", RUNS)
def test_the_example_runs(name, tmp_path, monkeypatch, capsys):
    if name == "convert_llama.py":
        pytest.importorskip("transformers")
    arguments, said = RUNS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    torch.set_num_threads(1)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert said in printed
    assert "NOT THE SAME" not in printed
    assert "nan" not in printed


@pytest.mark.skipif(find_spec("deepxde") is None, reason="DeepXDE is not installed")
@pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are no part of the source distribution")
def test_deepxde_trains_a_gmnm():
    """In a process of its own: DeepXDE sets torch's default dtype and asks for its backend by a variable."""
    process = subprocess.run(
        [sys.executable, EXAMPLES / "deepxde_poisson.py", "--steps", "20"],
        env={**os.environ, "DDE_BACKEND": "pytorch", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    (error,) = re.findall(r"relative L2 error: (\S+)", process.stdout)
    assert float(error) < 0.02
