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
    assert "<- chosen" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is no part of the source distribution")
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    run(ROOT / "docs" / "tutorial.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert printed.count("relative error") == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.png", "sampling.png"]
