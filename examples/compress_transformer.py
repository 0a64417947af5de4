"""A small trained transformer whose MLP blocks become GM layers of a quarter of their size.

It reads digits row by row. Every block is fitted to its neurons and, in closed form, to what it answers on the training
rows; then two epochs of distillation of the whole model, without labels. Beside it: the blocks taken out altogether,
and the blocks replaced by fresh layers of that size before the same distillation. Takes a minute.

    python examples/compress_transformer.py [--data mnist] [--seed 1]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMLayer, LowRank, convert
from gmlayers.experiments.data import load

SHARE, RANK = 4, 1


class Reader(nn.Module):
    """A transformer encoder over the rows of an image."""

    def __init__(self, rows: int, width: int, classes: int, features: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(width, features)
        self.position = nn.Parameter(0.02 * torch.randn(rows, features))
        layer = nn.TransformerEncoderLayer(features, 4, 4 * features, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (batch, classes), for images (batch, rows, width)."""
        return self.head(self.encoder(self.embed(images) + self.position).mean(1))


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Train by AdamW with a one-cycle schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of wrong classes in percent."""
    return 100 * (model.eval()(x).argmax(1) != y).double().mean().item()


def quarter(block: convert.Block) -> int:
    """Return the number of components at which a layer has a quarter of the parameters of a block."""
    own = sum(p.numel() for part in (block.first, block.second) for p in part.parameters())
    d, out = block.first.in_features, block.second.out_features
    one, two = (
        sum(p.numel() for p in GMLayer(d, out, K, covariance=LowRank(RANK), device="meta").parameters()) for K in (1, 2)
    )
    return (own // SHARE - out) // (two - one)


def fresh(block: convert.Block) -> nn.Module:
    """Return a layer of that size that knows nothing of the block."""
    layer = GMLayer(
        block.first.in_features,
        block.second.out_features,
        quarter(block),
        covariance=LowRank(RANK),
        activation=block.activation,
    )
    return nn.Sequential(layer, convert.Shift(torch.zeros(block.second.out_features)))


class Silent(nn.Module):
    """What answers 0, in a block of as many outputs as inputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros like x."""
        return torch.zeros_like(x)


def main() -> None:
    """Train, swap, distil, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist", "fashion-mnist"))
    parser.add_argument("--seed", default=0, type=int)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    data = load(options.data)
    std, mean = torch.std_mean(data.train_x)
    x, test = ((images.flatten(0, -3) - mean) / std for images in (data.train_x, data.test_x))
    teacher = Reader(*x.shape[1:], int(data.train_y.max()) + 1)
    train(teacher, x, data.train_y, 3000)
    print(f"{'':22} parameters of the blocks   test error, %: swapped   distilled")
    blocks = convert.find_blocks(teacher)
    size = sum(p.numel() for b in blocks for part in (b.first, b.second) for p in part.parameters())
    print(f"{'teacher':22} {size:10,} {error(teacher, test, data.test_y):32.2f}")

    def fitted(block: convert.Block) -> nn.Module:
        return convert.mlp_to_gm(
            block.first,
            block.second,
            quarter(block),
            covariance=LowRank(RANK),
            activation=block.activation,
            x=inputs[block.path],
            generator=torch.Generator().manual_seed(0),
        ).module

    make: dict[str, Callable[[convert.Block], nn.Module]] = {
        "silent": lambda _: Silent(),
        "fresh": fresh,
        "fitted": fitted,
    }
    for name, maker in make.items():
        student = copy.deepcopy(teacher)
        found = convert.find_blocks(student)
        inputs = convert.block_inputs(found, lambda student=student: student(x[:1000]))
        swapped = convert.swap_layers(student, maker, blocks=found)
        size, before = (
            sum(p.numel() for m in swapped.modules for p in m.parameters()),
            error(student, test, data.test_y),
        )
        convert.distill(student, teacher, x, epochs=2, generator=torch.Generator().manual_seed(0))
        print(f"{name:22} {size:10,} {before:32.2f} {error(student, test, data.test_y):11.2f}")


if __name__ == "__main__":
    main()
