import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "gmnm.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is no part of the source distribution")
def test_the_example_runs_and_is_accurate():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    x, y, plate, module = (names[n] for n in ("x", "y", "plate", "module"))
    assert (module(x) - y).square().mean().sqrt() < 1e-3
    fresh = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
    assert (plate(fresh) - torch.sin(torch.pi * fresh).prod(1, keepdim=True)).abs().max() < 1e-5
