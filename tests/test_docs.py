"""Pages whose code runs from top to bottom."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is no part of the source distribution")
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    exec(compile(code, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("relative error") == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.png", "sampling.png"]
