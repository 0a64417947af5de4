"""Figure 5: test error with the β-marginal (μ, σ) trained, and frozen as it was drawn.

Frozen, the layer is linear in what is trained: a random-feature model, the reference for lazy training.
"""

from __future__ import annotations

from collections.abc import Sequence

from gmlayers.experiments.train import Changes
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import gm, profiles
from gmlayers_studies.study import Study

TRAINED = gm(20)
FROZEN = Net(f"{TRAINED.label} (marginal frozen)", "paper", TRAINED.shape, Changes(frozen=("mean", "std")))


def judge(results: NetResults) -> Sequence[str]:
    """Compare by Welch's test, and say by what factor freezing raises the mean error."""
    sentences = list(judging.against((TRAINED, FROZEN), claim="training the marginal lowers the error")(results))
    for dataset in results.table["dataset"].unique():
        epoch = judging.last_common_epoch(results.table, dataset, (TRAINED.label, FROZEN.label))
        means = [judging.errors(results.table, dataset, arm.label, epoch) for arm in (TRAINED, FROZEN)]
        if all(len(m) and m.mean() > 0 for m in means):
            factor = means[1].mean() / means[0].mean()
            sentences.append(f"{dataset}, epoch {epoch}: freezing multiplies the mean error by {factor:.2f}")
    return sentences


STUDY = Study(
    name="fig5",
    title="Test error with the β-marginal trained, and frozen",
    claim="training the marginal lowers the error much: the layer learns features and is not lazy",
    contestants=(TRAINED, FROZEN),
    profiles=profiles(),
    report=report(drawing.error_curves, judge),
)
