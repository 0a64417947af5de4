"""Figure 7: one GM layer against two, 784 → 100 → 10."""

from __future__ import annotations

from gmlayers.experiments.models import Shape
from gmlayers_studies.nets import tables
from gmlayers_studies.papers.nets import gm
from gmlayers_studies.study import Arm, Experiment, profiles

ONE = gm(20)
TWO = Arm("two GM layers K = 20", "paper", Shape(components=20, hidden=100))

EXPERIMENT = Experiment(
    name="fig7",
    title="Test error of one GM layer, and of two with 100 features between them",
    claim="GM layers compose: two of them reach a lower error than one",
    arms=(ONE, TWO),
    profiles=profiles(),
    draw=tables.error_curves,
    judge=tables.against((TWO, ONE), claim="two layers are better than one"),
)
