"""Figure 2: test error of GM layers with K = 5, 10 and 20 components, trained as in the paper."""

from __future__ import annotations

from collections.abc import Sequence

from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import gm, profiles
from gmlayers_studies.study import Study


def judge(results: NetResults) -> Sequence[str]:
    """Compare each K with the next, and the largest with the smallest, by Welch's test."""
    each = judging.against((gm(10), gm(5)), (gm(20), gm(10)), claim="more components, lower error, at each step")
    ends = judging.against((gm(20), gm(5)), claim="K = 20 has a lower error than K = 5")
    return [*each(results), *ends(results), *_undisturbed(results)]


def _undisturbed(results: NetResults) -> Sequence[str]:
    """Say how long all epochs take at the pace of the fastest twentieth of each run, whatever else the machine did."""
    runs = results.table.groupby(["dataset", "label"])["seconds"]
    total = float((runs.quantile(0.05) * runs.count()).sum())
    return [
        f"at the pace of the fastest twentieth of its epochs all of this trains in {total / 120:.0f} min on two cores"
    ]


STUDY = Study(
    name="fig2",
    title="Test error of GM layers with K = 5, 10, 20 components",
    claim="more components give a lower test error",
    contestants=(gm(5), gm(10), gm(20)),
    profiles=profiles(),
    report=report(drawing.error_curves, judge),
)
