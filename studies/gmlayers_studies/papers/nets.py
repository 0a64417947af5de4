"""The nets that take part in several figures of Chewi, Rigollet and Yan (2025)."""

from __future__ import annotations

from gmlayers.experiments.models import PLAIN, Shape
from gmlayers.experiments.train import Changes
from gmlayers_studies.study import Arm

WIDTH = 1000
"""Of the fully connected nets."""


def gm(components: int) -> Arm:
    """Return the paper's GM layer, trained as in the paper."""
    return Arm(f"GM K = {components}", "paper", Shape(components=components))


def mean_field(width: int, rate: float, label: str) -> Arm:
    """Return a fully connected net in mean-field scaling, with one rate for all its weights."""
    return Arm(label, "fc_mean", Shape(width=width), Changes(lr=rate, std_lr=rate))


FC = Arm(
    f"FC-{WIDTH} (torch)",
    "fc",
    Shape(width=WIDTH),
    Changes(
        optimizer=PLAIN.optimizer,
        schedule=PLAIN.schedule,
        batch_size=PLAIN.batch_size,
        lr=PLAIN.lr,
        std_lr=PLAIN.lr,
        weight_decay=PLAIN.weight_decay,
        input_dropout=PLAIN.input_dropout,
        standardise=PLAIN.standardise,
    ),
)
# A step of SGD is one of rate / K of the flow for a GM layer, of rate / m for the net.
FC_EQUAL_TIME = mean_field(WIDTH, PLAIN.lr * WIDTH / 20, f"FC-{WIDTH} (mean-field, rate m/200)")
FC_FAST = mean_field(WIDTH, PLAIN.lr * WIDTH, f"FC-{WIDTH} (mean-field, rate m/10)")
