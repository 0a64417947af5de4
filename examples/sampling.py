"""Finite networks drawn from a layer that was trained on MNIST: their error, and what was predicted.

For every width: the mean over draws of the squared error of the outputs, times the width, beside `sampling_variance`,
and the share of wrong classes. Takes ten minutes.

    python examples/sampling.py [--covariance diagonal]
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional as F

from gmlayers import GMLayer, convert
from gmlayers.experiments.data import load

WIDTHS = (300, 1000, 3000, 10_000, 100_000)
ROWS = 500


def train(x: torch.Tensor, y: torch.Tensor, covariance: str, epochs: int = 3) -> GMLayer:
    """Return a layer of the size of a fully connected net of width 240."""
    layer = GMLayer.matching(torch.nn.Linear(784, 240), torch.nn.Linear(240, 10), covariance=covariance)
    steps = epochs * (len(x) // 128)
    optimizer = torch.optim.Adam(layer.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128)[: len(x) // 128]:
            optimizer.zero_grad()
            F.cross_entropy(layer(F.dropout(x[rows], 0.2)), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return layer


def main() -> None:
    """Train, draw, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--covariance", default="low_rank")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = load("mnist")
    std, mean = torch.std_mean(data.train_x)
    x, test = ((images.flatten(1) - mean) / std for images in (data.train_x, data.test_x))
    layer = train(x, data.train_y, options.covariance)
    with torch.no_grad():
        exact = layer(test)
    wrong = 100 * (exact.argmax(1) != data.test_y).double().mean()
    rows, y = test[:ROWS], data.test_y[:ROWS]
    predicted = [convert.sampling_variance(layer, rows, stratified=s).sum(-1).mean().item() for s in (False, True)]
    print(f"{layer.covariance}, K = {layer.num_components}: {wrong:.2f} % errors on the test images")
    print(f"predicted variance times width: {predicted[0]:.4g} at random, {predicted[1]:.4g} stratified: ", end="")
    print(f"a factor of {predicted[0] / predicted[1]:.2f}")
    print(f"{'width':>8} {'draws':>6}   error² × width / predicted (± standard error)    wrong of {ROWS} images, %")
    for width in WIDTHS:
        draws, cells = max(60, 200_000 // width), []
        for stratified in (False, True):
            squared, mistakes = [], []
            for _ in range(draws):
                with torch.no_grad():
                    answer = convert.gm_to_mlp(layer, width, stratified=stratified)(rows)
                squared.append((answer - exact[:ROWS]).square().sum(-1).mean() * width / predicted[stratified])
                mistakes.append((answer.argmax(1) != y).double().mean())
            ratios = torch.stack(squared)
            cells.append((ratios.mean(), ratios.std() / draws**0.5, 100 * torch.stack(mistakes).mean()))
        (a, da, wa), (b, db, wb) = cells
        print(
            f"{width:8,} {draws:6}   {a:.3f} ± {da:.3f}   stratified {b:.3f} ± {db:.3f}    {wa:.2f}, {wb:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
