"""Chooses the rates of `ladder`: four are tried of each family, and judged on held-out training rows."""

from __future__ import annotations

from collections.abc import Sequence

from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.ladder import FAMILIES, FC, at
from gmlayers_studies.papers.tuning import EPOCHS, best, draw
from gmlayers_studies.study import Profile, Study, epochs

RATES = {name: (1e-3, 2e-3, 4e-3, 8e-3) if name == FC else (2.5e-3, 5e-3, 1e-2, 2e-2) for name in FAMILIES}
GROUPS = {name: tuple(at(arm, lr, f"{name}, rate {lr:g}") for lr in RATES[name]) for name, arm in FAMILIES.items()}


def judge(results: NetResults) -> Sequence[str]:
    """Name the best rate of each family."""
    return best(results, GROUPS)


STUDY = Study(
    name="ladder-rates",
    title="Rates of covariance families at one number of parameters, on held-out training rows",
    claim="none; it chooses what ladder compares",
    contestants=tuple(arm for arms in GROUPS.values() for arm in arms),
    profiles={
        "smoke": Profile(("digits",), epochs((0,), 2)),
        "quick": Profile(("mnist",), epochs((0,), 3)),
        "full": Profile(("mnist",), epochs((0,), EPOCHS)),
    },
    report=report(draw, judge),
    validate=True,
)
