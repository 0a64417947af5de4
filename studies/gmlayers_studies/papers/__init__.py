"""The studies, one file each: a claim, who takes part, and a judge."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmlayers_studies.study import Study


def module(name: str) -> str:
    """Return the module that a study stands in."""
    return f"{__name__}.{name.replace('-', '_')}"


def study(name: str) -> Study:
    """Return a study by its name; its module is imported now, and no other study's."""
    return import_module(module(name)).STUDY
