import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from gmlayers_studies import papers
from gmlayers_studies.catalogue import COMMANDS, TITLES, sections
from gmlayers_studies.pages import PAGES


def test_titles_are_those_of_the_studies():
    modules = [import_module(f"{papers.__name__}.{found.name}") for found in pkgutil.iter_modules(papers.__path__)]
    studies = [module.STUDY for module in modules if hasattr(module, "STUDY")]
    assert {study.name: study.title for study in studies} == TITLES
    assert [row for _, rows in sections() for row in rows] == [*TITLES.items()]


@pytest.mark.parametrize("name", TITLES)
def test_studies_are_found_by_their_names(name):
    assert papers.study(name).name == name


def test_every_study_stands_on_one_page():
    assert sorted(name for page in PAGES.values() for name in page.studies) == sorted(TITLES)


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
