"""``gmlayers list``."""

from __future__ import annotations

from gmlayers.experiments import data, display
from gmlayers.experiments.models import MODELS
from gmlayers.experiments.training import OPTIMIZERS, SCHEDULES
from gmlayers.functional import ACTIVATIONS
from gmlayers_studies.command import EXPERIMENTS


def list_all() -> None:
    """Print the data sets, models, activations and experiments that can be named."""
    console = display.output()
    display.print_table("data sets", ["name", "what"], data.NAMES.items(), left=2)
    console.print("also: a folder of class folders of images, a .csv or .npz file\n")
    models = ((name, model.summary) for name, model in MODELS.items())
    display.print_table("models", ["name", "what"], models, left=2)
    console.print()
    experiments = ((name, experiment.title) for name, experiment in EXPERIMENTS.items())
    display.print_table("experiments (gmlayers reproduce)", ["name", "what"], experiments, left=2)
    for title, names in (("activations", ACTIVATIONS), ("optimizers", OPTIMIZERS), ("schedules", SCHEDULES)):
        console.print(f"\n[bold]{title}[/bold]  {', '.join(names)}", soft_wrap=True)
