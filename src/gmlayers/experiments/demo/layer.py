"""The second half of the demo: a layer of Gaussian neurons in a network, and a trained network compressed."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import nn

from gmlayers import GMLayer, convert, diagnostics, plot
from gmlayers.experiments.data import Data, load
from gmlayers.experiments.demo.page import Part
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.trainer import Task, Trainer, Trial, examples, judge, outputs

WIDE, NARROW = 1000, 250
"""The large network has the first width, and the small one, of a quarter of its parameters, the second."""

EPOCHS, BATCH_SIZE = 40, 64
"""All networks are trained so."""

SHOWN = 6
"""The picture shows so many Gaussians of a layer."""

PASSES = 20
"""A compressed network is taught for so many passes over the images, without their labels."""

GM, FC = "Gaussian mixture layer", "fully connected"
LARGE, SMALLER = "fully connected, large", "the large one, compressed"

CODE = """from torch import nn

from gmlayers import GMLayer, convert

layer = GMLayer.matching(nn.Linear(64, 250), nn.Linear(250, 10))  # in place of Linear, ReLU, Linear
small = convert.mlp_to_gm(net[0], net[2], 125, x=images)          # a trained net of width 1000, compressed
convert.distill(small.module, net, images, epochs=20)"""


class Trained(NamedTuple):
    """What one network made of one split of the images."""

    parameters: int
    error: float
    seconds: float
    model: nn.Module


def steps(seeds: int) -> int:
    """Return the number of runs that are shown as progress."""
    return 4 * seeds


def show(seeds: int, step: Callable[[str], object]) -> Part:
    """Train and compress, and return the table and the picture."""
    data = load("digits")
    runs: dict[str, list[Trained]] = {name: [] for name in (GM, FC, SMALLER, LARGE)}
    tests = 0
    for seed in range(seeds):
        here = shuffled(data, seed)
        tests += len(here.test_x)
        for name, model, width in ((GM, "low_rank", NARROW), (FC, "fc", NARROW), (LARGE, "fc", WIDE)):
            step(f"{name}, seed {seed}")
            runs[name].append(train(model, width, here, seed))
        step(f"{SMALLER}, seed {seed}")
        runs[SMALLER].append(compress(runs[LARGE][-1].model, here, seed))
    agreement = _agreement([(a.model, b.model) for a, b in zip(runs[LARGE], runs[SMALLER])], data)
    return Part(
        title="A layer in a network, and a network compressed",
        text=(
            f"Images of digits, 8 x 8 pixels, from scikit-learn; a random fifth is for tests, another one each time. "
            f"A Gaussian mixture layer takes the place of Linear, "
            f"ReLU, Linear at the same number of parameters. Then a network of width {WIDE} is compressed "
            f"to a quarter, without labels: its neurons become Gaussians."
        ),
        code=CODE,
        picture=_picture(runs),
        caption=(
            "Left: test error of every run against parameters. Right: a neuron of the layer is a Gaussian over "
            "weights; of six of them, the mean as an image, and the direction in which it spreads."
        ),
        header=["network", "made by", "parameters", "test error, %", "seconds"],
        rows=[
            [
                name,
                "its neurons, no labels" if name == SMALLER else "training",
                f"{results[0].parameters:,}",
                f"{100 * statistics.fmean(r.error for r in results):.1f}",
                f"{statistics.fmean(r.seconds for r in results):.1f}",
            ]
            for name, results in runs.items()
        ],
        verdict=_verdict(runs, tests, agreement),
    )


def shuffled(data: Data, seed: int) -> Data:
    """Return the same images, of which another fifth is for tests."""
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, rest = order[: len(data.test_x)], order[len(data.test_x) :]
    return dataclasses.replace(data, train_x=x[rest], train_y=y[rest], test_x=x[test], test_y=y[test])


def train(model: str, width: int, data: Data, seed: int) -> Trained:
    """Train a network by Adam at the rate of its recipe; both models want neither dropout nor decay here."""
    recipe = dataclasses.replace(
        MODELS[model].recipe,
        optimizer="adam",
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        input_dropout=0.0,
        weight_decay=0.0,
    )
    start = time.process_time()
    trainer = Trainer(Trial(model, Shape(width=width), recipe, seed), data)
    *_, last = trainer.run()
    size = sum(p.numel() for p in trainer.model.parameters())
    return Trained(size, last[trainer.metric], time.process_time() - start, trainer.model)


def compress(large: nn.Module, data: Data, seed: int) -> Trained:
    """Make a Gaussian mixture layer of the neurons of a trained network, and teach it to answer like that."""
    start = time.process_time()
    seen = examples(data, validate=False)
    model = copy.deepcopy(large).eval()
    generator = torch.Generator().manual_seed(seed)
    (block,) = blocks = convert.find_blocks(model)
    assert isinstance(block, convert.Block)
    (x,) = convert.block_inputs(blocks, lambda: model(seen.train_x)).values()
    pair = nn.Linear(block.first.in_features, NARROW), nn.Linear(NARROW, block.second.out_features)
    components = GMLayer.matching(*pair).num_components

    def build(block: convert.Block) -> nn.Module:
        return convert.mlp_to_gm(block.first, block.second, components, x=x, generator=generator).module

    convert.swap_layers(model, build)
    convert.distill(model, large, seen.train_x, epochs=PASSES, generator=generator)
    seconds = time.process_time() - start
    size = sum(p.numel() for p in model.parameters())
    return Trained(size, judge(model, Task.of(data), seen.judge_x, seen.judge_y), seconds, model)


def _agreement(pairs: Sequence[tuple[nn.Module, nn.Module]], data: Data) -> float:
    """Return on which share of the test images a compressed network answers as the large one does."""
    shares = []
    for seed, (large, small) in enumerate(pairs):
        x = shuffled(data, seed).test_x
        shares.append(float((outputs(large, x).argmax(1) == outputs(small, x).argmax(1)).double().mean()))
    return statistics.fmean(shares)


def _verdict(runs: dict[str, list[Trained]], tests: int, agreement: float) -> list[str]:
    """Say what can be told from so many images, and what cannot."""
    mean = {name: statistics.fmean(r.error for r in results) for name, results in runs.items()}
    both = (mean[GM] + mean[FC]) / 2
    chance = 2 * math.sqrt(2 * both * (1 - both) / tests)
    gap = mean[GM] - mean[FC]
    level = (
        "cannot be told apart here"
        if abs(gap) < chance
        else f"differ here, the {'layer' if gap < 0 else 'fully connected one'} being better"
    )
    return [
        f"{tests:,} test images in all cannot tell networks apart that differ by less than {100 * chance:.1f} %.",
        f"The layer and the fully connected network of its size {level}.",
        f"The compressed network gives the answer of the large one on {100 * agreement:.1f} % of the test images.",
        "Good for smaller networks without labels, for one Gaussian in place of many neurons, and for theory.",
        "Not a way to better accuracy by itself: expect what a fully connected network of that size gives.",
    ]


def _picture(runs: dict[str, list[Trained]]) -> Figure:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    ax = left.subplots()
    for colour, (name, results) in zip(plot.COLOURS, runs.items()):
        x = [r.parameters for r in results]
        ax.plot(x, [100 * r.error for r in results], "o", color=colour, alpha=0.75, label=name)
    ax.set(xlabel="parameters", ylabel="test error (%)", title="every run", xlim=(0, None), ylim=(0, None))
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    layer = next(m for m in runs[GM][0].model.modules() if isinstance(m, GMLayer))
    law = diagnostics.marginal(layer)
    heaviest = law.mean.square().sum(1).argsort(descending=True)[:SHOWN]
    rows = {"mean": law.mean[heaviest], "spread": law.factor[heaviest, :, 0]}
    for line, (what, images) in zip(right.subplots(2, SHOWN), rows.items()):
        for panel, image in zip(line, images):
            largest = float(image.abs().amax())
            side = round(math.sqrt(len(image)))
            panel.imshow(image.reshape(side, side).numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(what)
    right.suptitle(f"input weights of {SHOWN} of the {layer.num_components} Gaussian neurons", fontsize="medium")
    return figure
