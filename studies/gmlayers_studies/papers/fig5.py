"""Figure 5: test error with the β-marginal (μ, σ) trained, and frozen as it was drawn.

Frozen, the layer is linear in what is trained: a random-feature model, the reference for lazy training.
"""

from __future__ import annotations

from collections.abc import Sequence

from gmlayers.experiments.train import Changes
from gmlayers_studies.nets import tables
from gmlayers_studies.papers.nets import gm
from gmlayers_studies.study import Arm, Experiment, Results, profiles

TRAINED = gm(20)
FROZEN = Arm(f"{TRAINED.label} (marginal frozen)", "paper", TRAINED.shape, Changes(frozen=("mean", "std")))


def judge(results: Results) -> Sequence[str]:
    """Compare by Welch's test, and say by what factor freezing raises the mean error."""
    sentences = list(tables.against((TRAINED, FROZEN), claim="training the marginal lowers the error")(results))
    for dataset in results.table["dataset"].unique():
        epoch = tables.last_common_epoch(results.table, dataset, (TRAINED.label, FROZEN.label))
        means = [tables.errors(results.table, dataset, arm.label, epoch) for arm in (TRAINED, FROZEN)]
        if all(len(m) and m.mean() > 0 for m in means):
            factor = means[1].mean() / means[0].mean()
            sentences.append(f"{dataset}, epoch {epoch}: freezing multiplies the mean error by {factor:.2f}")
    return sentences


EXPERIMENT = Experiment(
    name="fig5",
    title="Test error with the β-marginal trained, and frozen",
    claim="training the marginal lowers the error much: the layer learns features and is not lazy",
    arms=(TRAINED, FROZEN),
    profiles=profiles(),
    draw=tables.error_curves,
    judge=judge,
)
