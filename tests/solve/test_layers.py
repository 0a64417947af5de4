"""Who may import whom inside of `solve`: domains, equations <- engine <- drivers."""

import ast
from pathlib import Path

import pytest

from gmlayers import solve

ROOT = Path(solve.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
BELOW = ["_checks", "_memory", "_renamed"]
"""What every file of `solve` may import."""
MAY_IMPORT = {
    "domains": {"domains"},
    "equations": {"equations", "domains"},
    "engine": {"engine", "equations", "domains"},
}


def layer(path):
    """The folder of a file of `solve`; of those in no folder, the name of the file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(path):
    """The layers of `solve` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[:2] == ["gmlayers", "solve"] and len(parts) > 2:
                yield parts[2]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_imports_what_is_above_it(path):
    here = layer(path)
    if here in MAY_IMPORT:
        assert set(imported(path)) <= MAY_IMPORT[here] | set(BELOW)
    elif here in BELOW:
        assert set(imported(path)) <= {"_memory"}
    elif here == "problems":
        assert set(imported(path)) <= {"domains", "equations"}


def test_the_check_sees_imports():
    assert set(imported(ROOT / "_solve.py")) == {"_checks", "_renamed", "engine", "equations"}
    assert set(imported(ROOT / "domains" / "base.py")) == {"_checks", "domains"}  # also those inside of functions
    assert {layer(path) for path in FILES} > set(MAY_IMPORT) | set(BELOW)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_derivatives_of_bumps_are_written_in_one_file():
    """An exponential of half a square is a bump; who writes one writes its derivatives next."""
    found = {path.name for path in FILES if "-0.5" in path.read_text(encoding="utf-8")}
    assert found == {"derivatives.py"}
