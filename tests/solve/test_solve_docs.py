import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"


pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is no part of the source distribution")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def run(page, code):
    names: dict[str, object] = {}
    exec(compile(code, page, "exec"), names)
    return names


def test_the_examples_of_modules_run_and_are_accurate():
    names = run("gmnm.md", "".join(blocks("gmnm.md")))
    x, y, plate, module, fitted = (names[n] for n in ("x", "y", "plate", "module", "fitted"))
    assert (module(x) - y).square().mean().sqrt() < 1e-3
    fresh = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
    assert (plate(fresh) - torch.sin(torch.pi * fresh).prod(1, keepdim=True)).abs().max() < 1e-5
    assert fitted.converged


def test_the_examples_of_equations_run_and_are_accurate():
    names = run("equations.md", "".join(blocks("equations.md")))
    small, where, answer = names["small"], names["where"], names["answer"]
    assert answer.converged
    assert (small(where) - answer.u(where)).abs().max() < 1e-4


def test_the_example_of_an_equation_is_short_and_stands_alone():
    code, *_ = blocks("equations.md")
    assert len([line for line in code.splitlines() if line]) <= 15
    assert run("equations.md", code)["answer"].converged  # alone, as whoever comes from the README has it
