"""How the paper's layer is best trained: plain descent, the flow of its law, and adaptive steps of either kind.

Every method has the rate that `rates` chose on held-out training rows, of as many that were tried.
"""

from __future__ import annotations

from gmlayers.experiments.models import Shape
from gmlayers.experiments.train_command import Changes
from gmlayers_studies.nets import drawing, judging
from gmlayers_studies.nets.net import Net
from gmlayers_studies.nets.report import report
from gmlayers_studies.study import Profile, Study, epochs

EPOCHS = 20


def method(label: str, optimizer: str, lr: float, stds: float = 1.0) -> Net:
    """Return the paper's layer with K = 20, trained by an optimizer at a rate; stds at a multiple of it."""
    return Net(label, "paper", Shape(components=20), Changes(optimizer=optimizer, lr=lr, std_lr=stds * lr))


METHODS = {
    "SGD, stds ten times as fast": ("sgd", (0.03, 0.1, 0.3, 1.0, 3.0), 10.0),
    "SGD": ("sgd", (0.1, 0.3, 0.6, 1.0, 3.0), 1.0),
    "Wasserstein SGD": ("wasserstein-sgd", (1e-3, 3e-3, 1e-2, 3e-2, 0.1), 1.0),
    "Adam": ("adam", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), 1.0),
    "Wasserstein Adam": ("wasserstein-adam", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), 1.0),
}
"""Each method has an optimizer, the rates that `rates` tries, and a factor by which the rate of the stds is larger."""

CHOSEN = {
    "SGD, stds ten times as fast": 1.0,
    "SGD": 1.0,
    "Wasserstein SGD": 0.1,
    "Adam": 1e-2,
    "Wasserstein Adam": 1e-2,
}
"""The study `rates` chooses these rates."""

NETS = {name: method(name, optimizer, CHOSEN[name], stds) for name, (optimizer, _, stds) in METHODS.items()}

STUDY = Study(
    name="optimizers",
    title="The paper's layer with K = 20 under five optimizers, at a constant rate",
    claim="steps along the flow of the law train the layer better than steps in the paper's coordinates",
    contestants=tuple(NETS.values()),
    profiles={
        "smoke": Profile(("digits",), epochs((0, 1), 2)),
        "quick": Profile(("mnist",), epochs((0,), 3)),
        "full": Profile(("mnist",), epochs((0, 1, 2, 3, 4), EPOCHS)),
    },
    report=report(
        drawing.error_curves,
        judging.against(
            (NETS["Wasserstein SGD"], NETS["SGD"]),
            (NETS["Wasserstein Adam"], NETS["Adam"]),
            claim="steps along the flow are better than in the paper's coordinates",
        ),
    ),
    note="Batches have 64 rows, pixels lie in [0, 1], and rates have no schedule. Rates were chosen among five each, "
    "by one seed of five epochs; that of Wasserstein SGD is the largest that was tried.",
)
