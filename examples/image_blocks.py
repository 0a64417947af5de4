"""A small convolutional net on digits, with its convolutions exchanged for Gaussian neurons and for bumps.

Each net has the same number of parameters to within a component, and is trained by the same recipe with several seeds;
a tenth of the training images is left out of it, as everywhere here. Takes a minute on the 8 x 8 digits.

    python examples/image_blocks.py [--epochs 20] [--seeds 3]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMConv2d, GMNMConv2d, parameter_groups
from gmlayers.experiments.data import load

Make = Callable[[int, int], nn.Module]

BLOCKS: dict[str, Make] = {
    "convolution, ReLU": lambda ins, outs: nn.Sequential(nn.Conv2d(ins, outs, 3, padding=1), nn.ReLU()),
    "Gaussian neurons": lambda ins, outs: GMConv2d(ins, outs, 3, padding=1, activation="gelu", init_scale=1.0),
    "bumps": lambda ins, outs: GMNMConv2d(ins, outs, 3, padding=1),
}


def network(make: Make) -> nn.Sequential:
    """Return two blocks, each with a norm before it, and a linear head."""
    return nn.Sequential(
        *(nn.BatchNorm2d(1), make(1, 16), nn.MaxPool2d(2)),
        *(nn.BatchNorm2d(16), make(16, 32), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 10)),
    )


def error(net: nn.Module, x: Tensor, y: Tensor, epochs: int, test: tuple[Tensor, Tensor]) -> float:
    """Train by AdamW with one cycle of the rate; return the share of wrong classes on the test images."""
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.AdamW(parameter_groups(net, weight_decay=0.01), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return float((net.eval()(test[0]).argmax(1) != test[1]).float().mean())


def main() -> None:
    """Train every net with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images (default: 20)")
    parser.add_argument("--seeds", type=int, default=3, help="nets of each kind (default: 3)")
    options = parser.parse_args()
    data = load("digits")
    kept = len(data.train_x) - data.validation
    x, y = data.train_x[:kept], data.train_y[:kept]
    print(f"{'':<20}parameters  validation error, %")
    for name, make in BLOCKS.items():
        found = []
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            net = network(make)
            found.append(100 * error(net, x, y, options.epochs, (data.train_x[kept:], data.train_y[kept:])))
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        size = sum(p.numel() for p in net.parameters())
        print(f"{name:<20}{size:>10,}  {statistics.mean(found):.2f}{spread}")


if __name__ == "__main__":
    main()
