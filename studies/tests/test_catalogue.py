import json
import subprocess
import sys
from importlib import import_module

import pytest

from gmlayers_studies.catalogue import COMMANDS, TITLES, sections
from gmlayers_studies.command import EXPERIMENTS


def test_titles_are_those_of_the_studies():
    assert {name: study.title for name, study in EXPERIMENTS.items()} == TITLES
    assert [row for _, rows in sections() for row in rows] == [*TITLES.items()]


def test_every_command_is_where_the_table_says():
    for place, summary in COMMANDS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))
        assert summary.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_finds_the_studies(name):
    code = """
import json, sys
from gmlayers.cli import main
try:
    main(["--help"])
finally:
    print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, modules = process.stdout.splitlines()
    assert any(line.split() == [name, *COMMANDS[name][1].split()] for line in lines)
    assert not {"torch", "pandas", "scipy", "matplotlib"} & set(json.loads(modules))
