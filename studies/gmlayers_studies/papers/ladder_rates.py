"""The rates of `ladder`: four for each family, judged on held-out training rows."""

from __future__ import annotations

from collections.abc import Sequence

from gmlayers_studies.papers.ladder import FAMILIES, FC, at
from gmlayers_studies.papers.tuning import EPOCHS, best, draw
from gmlayers_studies.study import Experiment, Profile, Results, Size

RATES = {name: (1e-3, 2e-3, 4e-3, 8e-3) if name == FC else (2.5e-3, 5e-3, 1e-2, 2e-2) for name in FAMILIES}
GROUPS = {name: tuple(at(arm, lr, f"{name}, rate {lr:g}") for lr in RATES[name]) for name, arm in FAMILIES.items()}


def judge(results: Results) -> Sequence[str]:
    """Name the best rate of each family."""
    return best(results, GROUPS)


EXPERIMENT = Experiment(
    name="ladder-rates",
    title="Rates of covariance families at one number of parameters, on held-out training rows",
    claim="none; it chooses what ladder compares",
    arms=tuple(arm for arms in GROUPS.values() for arm in arms),
    profiles={
        "smoke": Profile(("digits",), Size((0,), 2)),
        "quick": Profile(("mnist",), Size((0,), 3)),
        "full": Profile(("mnist",), Size((0,), EPOCHS)),
    },
    draw=draw,
    judge=judge,
    validate=True,
)
