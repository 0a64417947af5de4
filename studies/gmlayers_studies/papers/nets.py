"""The nets that take part in several figures of Chewi, Rigollet and Yan (2025)."""

from __future__ import annotations

from collections.abc import Mapping

from gmlayers.experiments.models import PLAIN, Shape
from gmlayers.experiments.train_command import Changes
from gmlayers_studies.nets.net import Net
from gmlayers_studies.study import Extent, Profile, ProfileName, epochs

WIDTH = 1000
"""The fully connected nets have this many neurons."""

SMOKE, QUICK, FULL = epochs((0, 1), 3), epochs((0, 1), 5), epochs((0, 1, 2, 3, 4), 200)


def profiles(
    smoke: Extent = SMOKE,
    quick: Extent = QUICK,
    full: Extent = FULL,
    but: Mapping[ProfileName, Mapping[str, Extent]] | None = None,
) -> Mapping[ProfileName, Profile]:
    """Return the usual profiles: smoke on digits, quick on MNIST, full as in the paper."""
    but = but or {}
    return {
        "smoke": Profile(("digits",), smoke, but.get("smoke", {})),
        "quick": Profile(("mnist",), quick, but.get("quick", {})),
        "full": Profile(("mnist", "fashion-mnist"), full, but.get("full", {})),
    }


def gm(components: int) -> Net:
    """Return the paper's GM layer, trained as in the paper."""
    return Net(f"GM K = {components}", "paper", Shape(components=components))


def mean_field(width: int, rate: float, label: str) -> Net:
    """Return a fully connected net in mean-field scaling, with one rate for all its weights."""
    return Net(label, "fc_mean", Shape(width=width), Changes(lr=rate, std_lr=rate))


FC = Net(
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
