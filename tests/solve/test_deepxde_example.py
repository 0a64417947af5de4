"""DeepXDE trains a GMNM as its network."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "deepxde_poisson.py"


@pytest.mark.skipif(find_spec("deepxde") is None, reason="DeepXDE is not installed")
@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are no part of the source distribution")
def test_deepxde_trains_a_gmnm():
    """In a process of its own: DeepXDE sets torch's default dtype and asks for its backend by a variable."""
    process = subprocess.run(
        [sys.executable, EXAMPLE, "--steps", "20"],
        env={**os.environ, "DDE_BACKEND": "pytorch", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    (error,) = re.findall(r"relative L2 error: (\S+)", process.stdout)
    assert float(error) < 0.02
