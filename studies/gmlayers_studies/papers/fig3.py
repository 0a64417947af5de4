"""Figure 3: fully connected nets of width 1000 under two initialisations, against the GM layer with K = 20.

Which initialisations the paper took is not known. Here: torch's default with the paper's rate; and mean-field scaling
1/m with weights from N(0, 1/4), at the rate of equal Wasserstein time with the GM layer and at twenty times that.
"""

from __future__ import annotations

from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import FC, FC_EQUAL_TIME, FC_FAST, gm, profiles
from gmlayers_studies.study import Study, epochs

NETS = (FC, FC_EQUAL_TIME, FC_FAST)

STUDY = Study(
    name="fig3",
    title="Test error of fully connected nets of width 1000, and of the GM layer with K = 20",
    claim="a GM layer reaches a test error comparable to that of a fully connected net",
    contestants=(*NETS, gm(20)),
    # a CPU takes half a minute for ten epochs of such a net
    profiles=profiles(but={"full": {net.label: epochs((0, 1, 2), 100) for net in NETS}}),
    report=report(
        drawing.error_curves,
        judging.against(*((gm(20), net) for net in NETS), claim="the GM layer is comparable", within=0.1),
    ),
)
