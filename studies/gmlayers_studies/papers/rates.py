"""Chooses the rates of `optimizers`: as many are tried of each method, and judged on held-out training rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.optimizers import METHODS, method
from gmlayers_studies.papers.tuning import best, draw
from gmlayers_studies.study import Profile, Study, epochs

LAST = 1
"""The error is averaged over this many epochs."""

GROUPS = {
    name: tuple(method(f"{name}, rate {lr:g}", optimizer, lr, stds) for lr in rates)
    for name, (optimizer, rates, stds) in METHODS.items()
}


def judge(results: NetResults) -> Sequence[str]:
    """Name the best rate of each method."""
    return best(results, GROUPS, LAST)


STUDY = Study(
    name="rates",
    title="Rates of five optimizers for the paper's layer, on held-out training rows",
    claim="none; it chooses what optimizers compares",
    contestants=tuple(arm for arms in GROUPS.values() for arm in arms),
    profiles={
        "smoke": Profile(("digits",), epochs((0,), 2)),
        "quick": Profile(("mnist",), epochs((0,), 2)),
        "full": Profile(("mnist",), epochs((0,), 5)),
    },
    report=report(partial(draw, last=LAST), judge),
    validate=True,
)
