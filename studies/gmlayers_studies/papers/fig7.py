"""Figure 7: one GM layer against two, 784 → 100 → 10."""

from __future__ import annotations

from gmlayers.experiments.models import Shape
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import gm, profiles
from gmlayers_studies.study import Study

ONE = gm(20)
TWO = Net("two GM layers K = 20", "paper", Shape(components=20, hidden=100))

STUDY = Study(
    name="fig7",
    title="Test error of one GM layer, and of two with 100 features between them",
    claim="GM layers compose: two of them reach a lower error than one",
    contestants=(ONE, TWO),
    profiles=profiles(),
    report=report(drawing.error_curves, judging.against((TWO, ONE), claim="two layers are better than one")),
)
