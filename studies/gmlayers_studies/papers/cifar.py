"""CIFAR: a GM layer as the head of a small convolutional trunk, and on raw pixels, beside the fully connected head.

The paper has one experiment on CIFAR-10 and CIFAR-100 whose net is not known; this one is ours. Both heads have the
size of FC-240; all weights are trained together. Another copy of the images is given by `--dataset FILE.npz` and goes
by the name of the file.
"""

from __future__ import annotations

import dataclasses

from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers import tuning
from gmlayers_studies.study import Profile, Study, epochs

CHANNELS, WIDTH = 32, 240


def head(base: Net, label: str, *, conv: bool) -> Net:
    """Return a net with or without the trunk; with it, the pixels have no dropout."""
    shape = dataclasses.replace(base.shape, trunk=CHANNELS if conv else None)
    changes = dataclasses.replace(base.changes, lr=1e-3, std_lr=1e-3, input_dropout=0.0) if conv else base.changes
    return Net(label, base.model, shape, changes)


GM, FC = tuning.gm("relu", 5e-3, width=WIDTH), tuning.fc("relu", 1e-3, width=WIDTH)
GM_CONV, FC_CONV = head(GM, "GM on a trunk", conv=True), head(FC, "FC on a trunk", conv=True)
GM_RAW, FC_RAW = head(GM, "GM on pixels", conv=False), head(FC, "FC on pixels", conv=False)

STUDY = Study(
    name="cifar",
    title="GM layer and fully connected net of one size as heads of a convolutional trunk, and on pixels",
    claim="a GM layer can take the place of the fully connected head",
    contestants=(GM_CONV, FC_CONV, GM_RAW, FC_RAW),
    profiles={
        "smoke": Profile(("digits",), epochs((0, 1), 2)),
        "quick": Profile(("cifar10",), epochs((0, 1, 2), 10)),
        "full": Profile(("cifar10", "cifar100"), epochs((0, 1, 2, 3, 4), 30)),
    },
    report=report(
        drawing.error_curves,
        judging.against((GM_CONV, FC_CONV), (GM_RAW, FC_RAW), claim="the GM head is as good", within=0.05),
    ),
    note=(
        "Rates are those found on MNIST, or usual ones on the trunk: nothing is tuned to these images. CIFAR-10-JPEG "
        "is a folder of them as JPEG files of quality 75, `train/CLASS/*` and `test/CLASS/*`: a lossy copy, not "
        "CIFAR-10."
    ),
)
