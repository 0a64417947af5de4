"""``gmlayers demo``: what the library is for, in a minute."""

from __future__ import annotations

import time
from pathlib import Path

from gmlayers.experiments import display


def demo(*, seeds: int = 3, out: Path = Path("runs/demo")) -> None:
    """Show in a minute what the library does: an equation, a function from data, a layer, a compressed network.

    The first half solves an equation and fits a function, beside a physics-informed network, a Gaussian process and
    a neural network. The second half puts a Gaussian mixture layer in place of Linear-ReLU-Linear, and compresses a
    trained network. It prints two tables and writes one page with pictures, index.html, which needs no other file.

    Args:
        seeds: Number of times that everything is done with other random numbers.
        out: Folder for the page; that of an earlier demo is replaced.
    """
    if not 1 <= seeds <= 100:
        raise ValueError(f"--seeds must be from 1 to 100, got {seeds}")
    import torch
    from threadpoolctl import threadpool_limits

    from gmlayers.experiments.demo import layer, page, solving
    from gmlayers.experiments.files import write_whole

    torch.set_num_threads(1)  # what is this small gains nothing from more, and loses much on a busy machine
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    halves = (solving, layer)
    with display.live() as live, threadpool_limits(1):  # the latter for scikit-learn
        step = live.steps("demo", sum(half.steps(seeds) for half in halves))
        parts = [half.show(seeds, step) for half in halves]
    seconds = time.perf_counter() - start
    write_whole(out / "index.html", page.render(parts, seconds).encode())
    for part in parts:
        display.print_table(part.title, part.header, part.rows, left=2)
        display.say("\n".join(part.verdict) + "\n")
    display.say(f"{seconds:.0f} s. Pictures: {(out / 'index.html').resolve().as_uri()}")
    display.say("Next: your own data (gmlayers train --help), or an equation of your own (docs/equations.md)")
