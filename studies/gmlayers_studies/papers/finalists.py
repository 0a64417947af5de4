"""The three best configurations that `tuning` found of each net, with three seeds that had no part in finding them.

The best of many by one seed is partly the luckiest; of the mean over three more the same is much less true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.tuning import EPOCHS, best, draw, fc, gm
from gmlayers_studies.study import Profile, Study, epochs

SEEDS = (1, 2, 3)


def finalists(name: str, mnist: Sequence[Net], fashion: Sequence[Net]) -> tuple[Net, ...]:
    """Return nets that are configured as the first, second and third on each data set."""
    places = ("first", "second", "third")
    return tuple(
        dataclasses.replace(one, label=f"{name}, {place}", on={"fashion-mnist": other})
        for place, one, other in zip(places, mnist, fashion, strict=True)
    )


GROUPS = {
    "GM (size of FC-500)": finalists(
        "GM-500",
        [gm("relu", 5e-3, 0.25), gm("gelu", 5e-3, 0.25), gm("relu", 5e-3, 0.3)],
        [gm("relu", 5e-3, 0.25, factors=8), gm("gelu", 5e-3, 0.3), gm("gelu", 5e-3, 0.1)],
    ),
    "GM (size of FC-240)": finalists(
        "GM-240",
        [
            gm("gelu", 5e-3, 0.2, width=240, factors=8),
            gm("relu", 1e-2, 0.3, width=240),
            gm("gelu", 5e-3, 0.3, width=240),
        ],
        [
            gm("gelu", 5e-3, 0.1, width=240),
            gm("gelu", 5e-3, 0.15, width=240),
            gm("gelu", 5e-3, 0.1, width=240, factors=8),
        ],
    ),
    "FC-500": finalists(
        "FC-500",
        [fc("relu", 2e-3, 0.3, width=500), fc("gelu", 2e-3, 0.3, width=500), fc("gelu", 2e-3, 0.2, width=500)],
        [fc("gelu", 1e-3, 0.1, width=500), fc("relu", 2e-3, 0.2, width=500), fc("gelu", 1e-3, 0.05, width=500)],
    ),
    "FC-240": finalists(
        "FC-240",
        [fc("relu", 2e-3, 0.3, width=240), fc("gelu", 2e-3, 0.1, width=240), fc("relu", 2e-3, 0.3, 0.2, width=240)],
        [fc("relu", 1e-3, 0.1, width=240), fc("gelu", 1e-3, 0.2, width=240), fc("gelu", 2e-3, 0.1, width=240)],
    ),
}


def judge(results: NetResults) -> Sequence[str]:
    """Name the best configuration of each net on each data set."""
    return best(results, GROUPS)


STUDY = Study(
    name="finalists",
    title="The three best configurations of GM layers and fully connected nets, with three more seeds",
    claim="none; it chooses what practical compares",
    contestants=tuple(arm for arms in GROUPS.values() for arm in arms),
    profiles={
        "smoke": Profile(("digits",), epochs((1, 2), 2)),
        "quick": Profile(("mnist",), epochs((1,), 3)),
        "full": Profile(("mnist", "fashion-mnist"), epochs(SEEDS, EPOCHS)),
    },
    report=report(draw, judge),
    validate=True,
)
