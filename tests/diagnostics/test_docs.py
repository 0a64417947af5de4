import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is no part of the source distribution")
def test_the_example_runs(capsys):
    pytest.importorskip("ot")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    assert len(capsys.readouterr().out.strip().splitlines()) == 6
