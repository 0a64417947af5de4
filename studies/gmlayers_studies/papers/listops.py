"""Nested operations on digits: is one head of a mixture worth several heads of softmax?"""

from __future__ import annotations

from gmlayers_studies.hosts.listops import ATTENTION, ListHost
from gmlayers_studies.hosts.report import Measure, Pair, report
from gmlayers_studies.hosts.run import BlockEntrant
from gmlayers_studies.study import Extent, Profile, Steps, Study

RATES = (1e-3, 3e-3, 1e-2)
"""These rates are tried of all, with a seed that has no part in the test."""

PAIRS = (
    Pair("GMNM, 1 head, 2 components", "softmax, 2 heads", "is one head of two components better than two of softmax"),
    Pair("GMNM, 1 head, 2 components", "softmax, 1 head", "is it better than one head of softmax"),
    Pair("GMNM, 1 head, 1 component", "softmax, 1 head", "is attention by distance better than softmax"),
    Pair(
        "GMNM, 1 head, 4 components", "softmax, 4 heads", "is one head of four components better than four of softmax"
    ),
    Pair("GMNM, 1 head, 4 components", "GMNM, 1 head, 1 component", "are four components better than one"),
)

ERROR = Measure(
    "error",
    "error, %",
    "makes",
    "points of error",
    2,
    "Errors are those of 4 000 expressions that were not seen, after the last step.",
    100,
)

TASKS = {f"up to {longest} tokens": ListHost(longest) for longest in (20, 40)}

STUDY = Study(
    name="listops",
    title="One head of a mixture beside several of softmax, on nested operations on digits",
    claim="a head of a mixture of two does as well as two heads of softmax",
    contestants=tuple(BlockEntrant(name, RATES, ListHost.of) for name in ATTENTION),
    profiles={
        "smoke": Profile(("up to 20 tokens",), Extent((0, 1, 2), (Steps(3),))),
        "quick": Profile(("up to 20 tokens",), Extent((0,), (Steps(200),))),
        "full": Profile(("up to 40 tokens",), Extent((0, 1, 2, 3, 4), (Steps(1500),))),
    },
    report=report(PAIRS, "softmax, 1 head", ERROR),
    tasks=TASKS,
    claims=("C7",),
    note=(
        "A reader has two layers of width 64, and tells the value of expressions such as `[MAX 2 9 [MIN 4 7 ] 0 ]`, of "
        "at least two operations, by the mean over its tokens. 30 000 expressions are for training. The claim is that "
        "of Nguyen et al. (ICML 2022), who put mixtures of Gaussian keys into attention."
    ),
)
