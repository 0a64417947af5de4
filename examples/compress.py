"""A trained net of width 1000 compressed to a quarter of its parameters: no labels, two short passes over the images.

Its neurons are clustered, every cluster becomes a Gaussian, what multiplies the output is refitted in closed form, and
two epochs of distillation follow. Beside the covariance families stands a smaller fully connected net of the same size,
made in the same way: one neuron for every cluster. The last 10 000 training images choose what is shown on the test
images, which nothing else is done with. Takes two minutes.

    python examples/compress.py [--data fashion-mnist] [--activation gelu] [--seed 1]
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers import GMLayer, LowRank, SharedFactor, convert
from gmlayers.experiments.data import load
from gmlayers.nn import Covariance

WIDTH, SHARE, ROWS = 1000, 4, 10_000
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
FAMILIES = {
    "low_rank, rank 0": LowRank(0),
    "low_rank, rank 1": LowRank(1),
    "low_rank, rank 2": LowRank(2),
    "shared_factor, rank 8": SharedFactor(8),
    "shared_factor, rank 16": SharedFactor(16),
}


def train(x: Tensor, y: Tensor, activation: str, epochs: int = 5, batch_size: int = 128) -> nn.Sequential:
    """Return the teacher, trained by AdamW with dropout of pixels."""
    net = nn.Sequential(nn.Linear(x.shape[1], WIDTH), ACTIVATIONS[activation](), nn.Linear(WIDTH, int(y.max()) + 1))
    steps = epochs * (len(x) // batch_size)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch_size)[: len(x) // batch_size]:
            optimizer.zero_grad()
            F.cross_entropy(net(F.dropout(x[rows], 0.2)), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return net


def size(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


def most_components(teacher: nn.Sequential, family: Covariance) -> int:
    """Return how many components a layer has that is a quarter of the teacher, with the shift after it."""
    in_features, out_features = teacher[0].in_features, teacher[2].out_features
    one, two = (size(GMLayer(in_features, out_features, K, covariance=family, device="meta")) for K in (1, 2))
    return (size(teacher) // SHARE - out_features - (2 * one - two)) // (two - one)


def fit(teacher: nn.Sequential, family: Covariance, activation: str, x: Tensor, *, refit: bool) -> convert.Fit:
    """Return the mixture that is fitted to the teacher's neurons."""
    first, _, second = teacher
    K, generator = most_components(teacher, family), torch.Generator().manual_seed(0)
    return convert.mlp_to_gm(
        first, second, K, covariance=family, activation=activation, x=x[:ROWS], refit=refit, generator=generator
    )


@torch.no_grad()
def merged(teacher: nn.Sequential, activation: str, x: Tensor, *, refit: bool) -> nn.Sequential:
    """Return a fully connected net with one neuron for each cluster, its mean; refitted by least squares."""
    layer = fit(teacher, LowRank(0), activation, x, refit=False).layer
    net = nn.Sequential(
        nn.Linear(layer.in_features, layer.num_components),
        teacher[1],
        nn.Linear(layer.num_components, layer.out_features),
    )
    net[0].weight.copy_(layer.mean)
    net[0].bias.copy_(layer.bias)
    net[2].weight.copy_((layer.component_weight()[:, None] * layer.output_mean).T)
    net[2].bias.copy_(teacher[2].bias)
    if refit:
        hidden = F.pad(net[1](net[0](x[:ROWS])), (0, 1), value=1.0).double()
        solution = torch.linalg.lstsq(hidden, teacher(x[:ROWS]).double(), driver="gelsd").solution
        net[2].weight.copy_(solution[:-1].T)
        net[2].bias.copy_(solution[-1])
    return net


@torch.no_grad()
def error(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of wrong classes in percent."""
    return 100 * (module(x).argmax(1) != y).double().mean().item()


def main() -> None:
    """Train, compress by every family, and show the stages of the one that is best on the validation images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--activation", default="relu", choices=ACTIVATIONS)
    parser.add_argument("--seed", default=0, type=int)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    start, data = time.perf_counter(), load(options.data)
    std, mean = torch.std_mean(data.train_x)
    x, test_x = ((images.flatten(1) - mean) / std for images in (data.train_x, data.test_x))
    cut = len(x) - data.validation
    x, y, valid_x, valid_y = x[:cut], data.train_y[:cut], x[cut:], data.train_y[cut:]
    teacher = train(x, y, options.activation)
    print(f"{'validation error, %':24} parameters      fit    refit  distilled")
    print(f"{'teacher':24} {size(teacher):10,} {error(teacher, valid_x, valid_y):8.2f}")
    students: dict[str, list[nn.Module]] = {}
    for name in ("single neurons", *FAMILIES):
        if name in FAMILIES:
            stages = [fit(teacher, FAMILIES[name], options.activation, x, refit=r).module for r in (False, True)]
        else:
            stages = [merged(teacher, options.activation, x, refit=r) for r in (False, True)]
        students[name] = [*stages, copy.deepcopy(stages[1])]
        convert.distill(students[name][2], teacher, x, epochs=2, generator=torch.Generator().manual_seed(0))
        errors = " ".join(f"{error(student, valid_x, valid_y):8.2f}" for student in students[name])
        print(f"{name:24} {size(stages[0]):10,} {errors}", flush=True)
    best = min(FAMILIES, key=lambda name: error(students[name][2], valid_x, valid_y))
    print(f"\n{'test error, %':24} {'teacher':>10}      fit    refit  distilled")
    for name in (best, "single neurons"):
        errors = " ".join(f"{error(student, test_x, data.test_y):8.2f}" for student in students[name])
        print(f"{name:24} {error(teacher, test_x, data.test_y):10.2f} {errors}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
