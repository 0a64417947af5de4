"""A Llama of random weights becomes a mixture of Gaussian neurons without changing its function; then it trains on.

Every gated block is converted exactly, saved and loaded by transformers' own calls, and converted once more with
neurons that may vary. Trained for some steps on the sources of Python's standard library, all get the same batches.
Needs transformers; takes a minute. For a model of yours put `from_pretrained("name")` in place of the configuration.

    python examples/convert_llama.py [--steps 100]
"""

from __future__ import annotations

import argparse
import copy
import sysconfig
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from gmlayers import convert, parameter_groups


def text() -> Tensor:
    """Return the bytes of some modules of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return torch.tensor(list(b"".join((folder / f"{name}.py").read_bytes() for name in ("argparse", "ast", "typing"))))


def train(model: nn.Module, bytes_: Tensor, steps: int) -> float:
    """Train by AdamW on windows of 64 bytes; return the mean loss of the last tenth of the steps."""
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.1), lr=2e-3)
    draws, losses = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        starts = torch.randint(len(bytes_) - 64, (8, 1), generator=draws)
        rows = bytes_[starts + torch.arange(64)]
        loss = model(input_ids=rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def main() -> None:
    """Convert, save, load, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: 100)")
    options = parser.parse_args()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4, head_dim=16
    )
    model = LlamaForCausalLM(config).eval()
    bytes_ = text()
    rows = bytes_[:128].reshape(2, 64)
    exact = model(input_ids=rows).logits

    converted = copy.deepcopy(model)
    swapped = convert.swap_layers(
        converted, lambda block: convert.glu_to_gm(block.gate, block.up, block.down, block.activation)
    )
    found = converted(input_ids=rows).logits
    print(f"{len(swapped.blocks)} blocks converted; largest change {(found - exact).abs().max():.1e}")

    converted.config.gmlayers = convert.record(swapped)
    with tempfile.TemporaryDirectory() as folder:
        converted.save_pretrained(folder)
        again = convert.swapped_class(LlamaForCausalLM).from_pretrained(folder).eval()
    print(f"saved and loaded: {'the same' if torch.equal(again(input_ids=rows).logits, found) else 'NOT THE SAME'}")

    varying = copy.deepcopy(model)
    convert.swap_layers(
        varying, lambda block: convert.glu_to_gm(block.gate, block.up, block.down, block.activation, start=0.1)
    )
    for name, net in (("gated blocks", model), ("Gaussian, as points", converted), ("Gaussian, varying", varying)):
        print(f"{name:<22}{train(net.train(), bytes_, options.steps):.3f} nats a byte after {options.steps} steps")


if __name__ == "__main__":
    main()
