"""Figure 4: how the components of a GM layer, and the neurons of a net, move in the plane in which the mixture ends.

K = 5 components (the β-marginal: means and one-σ ellipses) and the weights β_j of a net of 5 neurons in mean-field
scaling, projected on the two principal components of the mixture at the last epoch; at γ = 1/2 and at γ = 1/256. Both
move at the paper's rate for means, the stds at its rate for stds. There is one trial of each.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from torch import Tensor

from gmlayers import GMLayer, diagnostics
from gmlayers.diagnostics import NeuronMixture
from gmlayers.experiments import plots
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.models import PLAIN, MeanFieldNet, Shape
from gmlayers.experiments.records import read_tensors, write_tensors
from gmlayers.experiments.run_folder import seed_folder
from gmlayers.experiments.train_command import Changes
from gmlayers.experiments.trainer import Trainer
from gmlayers_studies.nets.judging import NetResults
from gmlayers_studies.nets.net import Net, NetRun
from gmlayers_studies.nets.report import report
from gmlayers_studies.papers.nets import profiles
from gmlayers_studies.records import Records, seed_name
from gmlayers_studies.study import Study, epochs

NUMBER = 5
SCALES = {"1/2": 1 / 2, "1/256": 1 / 256}
SEED = 0
FRAMES = 60
"""The animation has this many frames."""

PROJECTED = "projected"
"""The table with this name says where components and neurons are at each epoch."""


class Snapshots:
    """Keeps the law of the neurons at the start and after every epoch, a small file each."""

    def __init__(self, start: Trainer) -> None:
        self.start = law(start.model)

    def __call__(self, trainer: Trainer) -> dict[str, Any]:
        """Write the snapshot of an epoch; written anew, it is the same."""
        assert trainer.folder is not None
        write_law(snapshot(trainer.folder, 0), self.start)
        write_law(snapshot(trainer.folder, trainer.epoch), law(trainer.model))
        return {}


def law(model: torch.nn.Module) -> NeuronMixture:
    """Return the law of β of the net inside a model."""
    for module in model.modules():
        if isinstance(module, GMLayer):
            return diagnostics.marginal(module)
        if isinstance(module, MeanFieldNet):
            return diagnostics.neurons(module.first.weight)
    raise ValueError("the model has neither a GM layer nor a net in mean-field scaling")


def snapshot(folder: Path, epoch: int) -> Path:
    """Return the file of a snapshot."""
    return folder / "snapshots" / f"{epoch:04d}.safetensors"


def write_law(path: Path, mixture: NeuronMixture) -> None:
    """Write a mixture without factors."""
    path.parent.mkdir(exist_ok=True)
    write_tensors(path, {"mean": mixture.mean, "var": mixture.var}, {})


def read_law(path: Path) -> NeuronMixture:
    """Read what :func:`write_law` wrote."""
    tensors, _ = read_tensors(path)
    mean = tensors["mean"]
    return NeuronMixture(
        mean.new_full((len(mean),), 1 / len(mean)), mean, tensors["var"], mean.new_empty(*mean.shape, 0)
    )


def gm(scale: str) -> Net:
    """Return the paper's layer at an initial scale."""
    shape = Shape(components=NUMBER, init_scale=SCALES[scale])
    return Net(f"GM K = {NUMBER} watched (γ = {scale})", "paper", shape, watch=Snapshots)


def net(scale: str) -> Net:
    """Return the net of as many neurons; for m = K equal rates are equal steps of the flow of the means."""
    shape, changes = Shape(width=NUMBER, init_scale=SCALES[scale]), Changes(lr=PLAIN.lr, std_lr=PLAIN.lr)
    return Net(f"FC-{NUMBER} watched (γ = {scale})", "fc_mean", shape, changes, watch=Snapshots)


def digest(runs: Sequence[NetRun], folder: Path) -> None:
    """Write ``projected.jsonl`` of every trial: where all are at each epoch in the plane in which the mixture ends."""
    by_label = {(run.dataset, run.label): run for run in runs}
    for run in runs:
        scale = next(scale for scale in SCALES if run.net in (gm(scale), net(scale)))
        of_plane = by_label[run.dataset, gm(scale).label]
        last = snapshot(seed_folder(folder / of_plane.place, SEED), of_plane.epochs)
        own = snapshot(seed_folder(folder / run.place, SEED), 0).parent
        if not (last.exists() and own.exists()):
            continue  # projected when it was trained, or not trained yet
        plane = diagnostics.principal_components(read_law(last))
        files = sorted(own.iterdir())[: run.epochs + 1]
        start = read_law(files[0])
        lines = [json.dumps({"epoch": int(file.stem), **_projected(read_law(file), start, plane)}) for file in files]
        write_whole(seed_folder(folder / run.place, SEED) / f"{PROJECTED}.jsonl", ("\n".join(lines) + "\n").encode())


def _projected(now: NeuronMixture, start: NeuronMixture, plane: diagnostics.PrincipalComponents) -> dict[str, Any]:
    seen = diagnostics.project(now, plane)
    size = (start.mean.square() + start.var).sum(1).mean().sqrt()
    return {
        "mean": _short(seen.mean),
        "cov": _short(seen.cov),
        "displacement": _short(diagnostics.displacement(start, now) / size),
        "share": _short(plane.share),
    }


def _short(values: Tensor) -> Any:  # noqa: ANN401  (lists of lists)
    return json.loads(json.dumps(values.double().tolist()), parse_float=lambda text: float(f"{float(text):.5g}"))


def paths(run: NetRun, records: Records) -> list[dict[str, Any]]:
    """Return where all are in the plane, a row for each epoch."""
    return records.rows(run.place, seed_name(SEED), PROJECTED)


def draw(results: NetResults) -> Figure:
    """Draw all epochs, opacity growing with them; a column for each data set, a row for each initial scale."""
    return _drawn(results, until=1.0)


def animate(results: NetResults) -> dict[str, bytes]:
    """Return the same as an animation, by the name of its file."""
    content = io.BytesIO()
    first, *others = _frames(results)
    durations = [100] * (FRAMES - 1) + [1500]  # it rests at the end
    first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return {"fig4.gif": content.getvalue()}


def _frames(results: NetResults) -> Iterator[Image.Image]:
    for frame in range(1, FRAMES + 1):
        canvas = FigureCanvasAgg(_drawn(results, until=frame / FRAMES, dpi=60))
        canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("P", palette=Image.Palette.ADAPTIVE)


def _drawn(results: NetResults, until: float, dpi: float = 100) -> Figure:
    datasets = list(dict.fromkeys(run.dataset for run in results.runs))
    figure = Figure(figsize=(3.4 * len(datasets) + 0.6, 6.4), layout="constrained", dpi=dpi)
    grid = figure.subplots(len(SCALES), len(datasets), squeeze=False)
    for row, scale in zip(grid, SCALES):
        for axes, dataset in zip(row, datasets):
            here = {run.label: paths(run, results.records) for run in results.runs if run.dataset == dataset}
            components, neurons = here.get(gm(scale).label, []), here.get(net(scale).label, [])
            _limits(axes, [*components, *neurons])
            _ellipses(axes, components[: max(1, math.ceil(until * len(components)))])
            _dots(axes, neurons[: max(1, math.ceil(until * len(neurons)))])
            axes.set(title=f"{plots.words(dataset)}, γ = {scale}", xlabel="first principal component")
            axes.set_aspect("equal")
        row[0].set_ylabel("second principal component")
    return figure


def _limits(axes: Axes, lines: Sequence[dict[str, Any]]) -> None:
    """Show all of every epoch, so that the frames of an animation do not jump."""
    ends = [
        np.array(line["mean"]) + sign * np.sqrt(np.diagonal(line["cov"], axis1=1, axis2=2))
        for line in lines
        for sign in (-1, 1)
    ]
    if ends:
        points = np.concatenate(ends)
        middle, half = (points.min(0) + points.max(0)) / 2, 0.56 * np.ptp(points, 0).max() + 1e-12
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)


def _shown(lines: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Return some 12 of the lines, the last among them, with their opacity."""
    every = max(1, len(lines) // 12)
    chosen = lines[::-1][::every][::-1]
    return [(line, 0.08 + 0.92 * (i + 1) / len(chosen)) for i, line in enumerate(chosen)]


def _ellipses(axes: Axes, lines: Sequence[dict[str, Any]]) -> None:
    for line, opacity in _shown(lines):
        for k, (mean, cov) in enumerate(zip(line["mean"], line["cov"])):
            values, vectors = np.linalg.eigh(np.array(cov))
            width, height = 2 * np.sqrt(values.clip(0))
            angle = math.degrees(math.atan2(vectors[1, 0], vectors[0, 0]))
            colour = plots.COLOURS[k]
            axes.add_patch(
                Ellipse(mean, width, height, angle=angle, fill=False, edgecolor=colour, alpha=opacity, linewidth=1)
            )
            axes.plot(*mean, "+", color=colour, alpha=opacity, markersize=4)


def _dots(axes: Axes, lines: Sequence[dict[str, Any]]) -> None:
    for line, opacity in _shown(lines):
        for k, mean in enumerate(line["mean"]):
            axes.plot(*mean, ".", color=plots.COLOURS[k], alpha=opacity, markersize=6)


def judge(results: NetResults) -> Sequence[str]:
    """Say how far both have moved at the last epoch, in the Wasserstein distance."""
    sentences = []
    for run in results.runs:
        if lines := paths(run, results.records):
            share = 100 * sum(lines[-1]["share"])
            sentences.append(
                f"{run.dataset}, {run.label}: moved by {lines[-1]['displacement']:.3g} of its first size "
                f"(root of the second moment) by epoch {lines[-1]['epoch']}; the plane has {share:.0f} % "
                f"of the final mixture's variance"
            )
    return [*sentences, "one trial each: a picture, not a test"]


STUDY = Study(
    name="fig4",
    title="Components of a GM layer (ellipses) and neurons of a net (dots) over the epochs",
    claim="the components of a GM layer move otherwise than the neurons of a net of as many",
    contestants=tuple(arm(scale) for scale in SCALES for arm in (gm, net)),
    profiles=profiles(smoke=epochs((SEED,), 3), quick=epochs((SEED,), 10), full=epochs((SEED,), 200)),
    report=report(draw, judge, animate),
    digest=digest,
)
