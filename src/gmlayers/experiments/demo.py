"""``gmlayers demo``: Gaussian mixture layers beside the fully connected layers they replace."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gmlayers.experiments import display
from gmlayers.experiments.data import load
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.models import MODELS, Shape
from gmlayers.experiments.plots import curves
from gmlayers.experiments.trainer import Trainer, Trial

EPOCHS = 40
EQUAL_WIDTH = 207  # 64·207 + 207 + 207·10 + 10 = 15 535 parameters; the paper's layer with K = 20 has 15 560


def trials(seed: int) -> dict[str, Trial]:
    """Return the contestants by label.

    All but the paper's are trained by Adam. Rates and dropout of the default layer and of the fully connected
    nets were chosen on validation rows, from the same 12 pairs each: 5e-3 and 2e-3 times 1/2, 1, 2, and dropout
    0, 0.1, 0.2, 0.3. Both want none.
    """

    def trial(model: str, shape: Shape) -> Trial:
        recipe = dataclasses.replace(MODELS[model].recipe, epochs=EPOCHS, batch_size=64, input_dropout=0.0)
        if model != "paper":
            recipe = dataclasses.replace(recipe, optimizer="adam", weight_decay=0.0)
        return Trial(model, shape, recipe, seed)

    return {
        "GM, paper, K = 5": trial("paper", Shape(components=5)),
        "GM, paper, K = 20": trial("paper", Shape(components=20)),
        "GM, default": trial("low_rank", Shape(width=EQUAL_WIDTH)),
        f"FC, width {EQUAL_WIDTH}": trial("fc", Shape(width=EQUAL_WIDTH)),
        "FC, width 1000": trial("fc", Shape(width=1000)),
    }


def demo(*, seeds: tuple[int, ...] = (0, 1, 2, 3, 4), out: Path = Path("runs/demo")) -> None:
    """Train Gaussian mixture layers and the nets they replace on 8x8 images of digits; takes under a minute.

    Five nets from the same images to ten classes: the layer of the paper (Chewi, Rigollet and Yan, 2025) with 5
    and 20 components, trained as in the paper; the library's default layer; and two fully connected nets, one
    of the same size and one of width 1000. Prints a table and writes demo.csv and demo.png.

    Args:
        seeds: One independent training run of every net each.
        out: Folder for the results; those of an earlier demo are replaced.
    """
    if not seeds:
        raise ValueError("--seeds must name at least one number")
    torch.set_num_threads(1)  # nets this small gain nothing from more, and lose much on a busy machine
    out.mkdir(parents=True, exist_ok=True)
    data = load("digits")
    records: list[dict[str, object]] = []
    start = time.perf_counter()
    with display.live(lines=1) as live:
        for label in trials(0):
            for seed in seeds:
                trainer = Trainer(trials(seed)[label], data)
                size = sum(p.numel() for p in trainer.model.parameters())
                show = live.bar(f"{label}, seed {seed}", trainer.metric, 0, EPOCHS)
                for row in trainer.run():
                    show(row)
                    records.append({"net": label, "parameters": size, "seed": seed, **row})
    frame = pd.DataFrame(records)
    write_whole(out / "demo.csv", frame.to_csv(index=False).encode())
    curves(
        {
            str(label): 100 * part.pivot_table(index="seed", columns="epoch", values="test_error").to_numpy(np.float64)
            for label, part in frame.groupby("net", sort=False)
        },
        out / "demo.png",
        title=f"Embedded digits, {len(seeds)} seeds, mean ± std",
        ylabel="test error (%)",
    )
    display.print_table(
        f"{len(data.train_x)} training, {len(data.test_x)} test images of digits; {EPOCHS} epochs, {len(seeds)} seeds",
        ["net", "parameters", "test error", "seconds a run"],
        [_line(str(label), part) for label, part in frame.groupby("net", sort=False)],
    )
    display.say(f"{time.perf_counter() - start:.0f} s. Figure: {out / 'demo.png'}  numbers: {out / 'demo.csv'}")
    display.say("Next, real images (the first time with a download): gmlayers train mnist")


def _line(label: str, part: pd.DataFrame) -> list[str]:
    last = part[part["epoch"] == part["epoch"].max()]
    seconds = part.groupby("seed")["seconds"].sum()
    return [
        label,
        f"{int(part['parameters'].iloc[0]):,}",
        display.shown(last["test_error"].tolist(), percent=True),
        f"{seconds.mean():.2f}",
    ]
