import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "gmnm.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is no part of the source distribution")
def test_the_examples_run_and_are_accurate():
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    x, y, plate, module, fitted, answer = (names[n] for n in ("x", "y", "plate", "module", "fitted", "answer"))
    assert (module(x) - y).square().mean().sqrt() < 1e-3
    fresh = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
    assert (plate(fresh) - torch.sin(torch.pi * fresh).prod(1, keepdim=True)).abs().max() < 1e-5
    assert fitted.converged
    assert answer.converged
    small, where = names["small"], names["where"]
    assert (small(where) - answer.u(where)).abs().max() < 1e-4


def test_the_example_of_an_equation_is_short_and_stands_alone():
    (code,) = re.findall(r"## Solve your own.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # alone, as whoever comes from the README has it
    assert names["answer"].converged
