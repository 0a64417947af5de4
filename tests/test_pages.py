"""Pages whose code runs from top to bottom."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    torch.set_num_threads(1)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    exec(compile(code, str(page), "exec"), {})


def test_the_readme_runs(tmp_path, monkeypatch, capsys):
    run(ROOT / "README.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out.split("\n")
    assert printed[0] == "True 32"
    assert printed[1] == "True 6e-08 1529"
    assert printed[2] == "torch.Size([64, 10])"
    assert not list(tmp_path.iterdir())


def test_the_readme_takes_two_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "±" not in text


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link or link == "<index>":
            continue
        path, _, anchor = link.partition("#")
        page = ROOT / path
        assert page.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, link


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # in the export to ONNX
@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("layer.md", "<- chosen"),
        ("models.md", "True\nTrue\ntorch.bfloat16\ntorch.Size([9, 8])\nTrue\nTrue\n"),
        ("blocks.md", "torch.Size([8, 20, 64]) 128\ntorch.Size([8, 20, 64]) 256\ntorch.Size([2, 64, 28, 28])\nTrue\n"),
        ("training.md", ""),
        ("forecasting.md", "torch.Size([1, 12]) True"),
    ],
)
def test_the_page_runs(page, said, tmp_path, monkeypatch, capsys):
    run(ROOT / "docs" / page, tmp_path, monkeypatch)
    assert said in capsys.readouterr().out


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_page_of_diagnostics_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ot")
    run(ROOT / "docs" / "diagnostics.md", tmp_path, monkeypatch)
    assert len(capsys.readouterr().out.strip().splitlines()) == 6


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_page_of_transformers_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    run(ROOT / "docs" / "transformers.md", tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    block = "GatedBlock('model.layers.0.mlp', 32, 48, 32, activation=silu, dropout=0)"
    assert [line for line in lines if line in (block, "True", "32")] == [block, "True", "True", "True", "32"]


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_no_page_is_longer_than_2000_words():
    for path in (ROOT / "docs").rglob("*.md"):
        assert len(path.read_text(encoding="utf-8").split()) <= 2000, path


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_no_page_with_code_is_left_out():
    """The pages of modules and equations have tests of their own, beside those of the solvers."""
    with_code = {path.name for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert with_code == {
        "blocks.md",
        "transformers.md",
        "diagnostics.md",
        "equations.md",
        "forecasting.md",
        "gmnm.md",
        "layer.md",
        "models.md",
        "training.md",
        "tutorial.md",
    }


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    run(ROOT / "docs" / "tutorial.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert printed.count("relative error") == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.png", "sampling.png"]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def names_of(page, code):
    names: dict[str, object] = {}
    exec(compile(code, page, "exec"), names)
    return names


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_examples_of_modules_run_and_are_accurate():
    names = names_of("gmnm.md", "".join(blocks("gmnm.md")))
    x, y, plate, module, fitted = (names[n] for n in ("x", "y", "plate", "module", "fitted"))
    assert (module(x) - y).square().mean().sqrt() < 1e-3
    fresh = torch.rand(500, 2, dtype=torch.float64) * 2 - 1
    assert (plate(fresh) - torch.sin(torch.pi * fresh).prod(1, keepdim=True)).abs().max() < 1e-5
    assert fitted.converged


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_examples_of_equations_run_and_are_accurate():
    names = names_of("equations.md", "".join(blocks("equations.md")))
    small, where, answer = names["small"], names["where"], names["answer"]
    assert answer.converged
    assert (small(where) - answer.u(where)).abs().max() < 1e-4


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_example_of_an_equation_is_short_and_stands_alone():
    code, *_ = blocks("equations.md")
    assert len([line for line in code.splitlines() if line]) <= 15
    assert names_of("equations.md", code)["answer"].converged  # alone, as whoever comes from the README has it
