"""One line of a small transformer is exchanged: its MLP for a block of Gaussian neurons of the same size.

The model reads bytes of Python's standard library. It is trained twice, with the same batches, and judged on files that
it has not seen. `gmlayers reproduce blocks` is the study of it, with seeds and tests. Takes two minutes.

    python examples/byte_model.py [--steps 300] [--width 64]
"""

from __future__ import annotations

import argparse
import math
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMFeedForward, parameter_groups

LENGTH = 128


class Layer(nn.Module):
    """Attention and a feed-forward block."""

    def __init__(self, width: int, block: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Return x with what both add."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        h = self.norms[0](x)
        x = x + self.attention(h, h, h, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return x + self.block(self.norms[1](x))


class ByteModel(nn.Module):
    """Two layers over bytes."""

    def __init__(self, width: int, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.byte, self.place = nn.Embedding(256, width), nn.Embedding(LENGTH, width)
        self.layers = nn.Sequential(*(Layer(width, make(width)) for _ in range(2)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 256))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the mean bits a byte of windows (batch, length + 1)."""
        x = rows[:, :-1]
        logits = self.head(self.layers(self.byte(x) + self.place.weight[: x.shape[1]]))
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()) / math.log(2)


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "MLP, GELU": lambda width: nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
    "GMFeedForward": GMFeedForward,  # the line
}


def texts() -> tuple[Tensor, Tensor]:
    """Return the bytes of modules to train on, and of every tenth, to judge by."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts = [f for i, f in enumerate(files) if i % 10], files[::10]
    train, test = (torch.tensor(bytearray(b"".join(f.read_bytes() for f in part)), dtype=torch.long) for part in parts)
    return train, test


def main() -> None:
    """Train both models, and print what they need."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--width", type=int, default=64, help="of everything, a multiple of 4 (default: 64)")
    options = parser.parse_args()
    train, test = texts()
    judged = test[torch.linspace(0, len(test) - LENGTH - 1, 100).long()[:, None] + torch.arange(LENGTH + 1)]
    for name, make in BLOCKS.items():
        torch.manual_seed(0)
        model = ByteModel(options.width, make)
        optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.1), lr=3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=options.steps)
        draws = torch.Generator().manual_seed(0)
        for _ in range(options.steps):
            starts = torch.randint(len(train) - LENGTH, (16, 1), generator=draws)
            optimizer.zero_grad()
            model(train[starts + torch.arange(LENGTH + 1)]).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            bits = float(model.eval()(judged))
        size = sum(p.numel() for layer in model.layers for p in layer.block.parameters())
        print(f"{name:<16}{size:>8,} parameters in blocks, {bits:.3f} bits a byte")


if __name__ == "__main__":
    main()
