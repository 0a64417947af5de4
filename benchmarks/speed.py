"""Time the GM layer against what it replaces and against its floor, behind a correctness gate: ``make bench``.

All rows of a shape are timed in one process, interleaved; every figure is a median over repeats with its range, and
the table gives ratios, because absolute times drift on shared machines. A row is timed only if its values and
gradients equal the reference's.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gmlayers import GMLayer, functional, ops

Step = Callable[[], object]


@dataclass(frozen=True)
class Target:
    """A ratio that should not be exceeded (or, with ``at_least``, reached)."""

    row: str
    peer: str
    bound: float
    at_least: bool = False


@dataclass(frozen=True)
class Shape:
    """A shape of the layer, its covariance family, and what is expected of it."""

    family: str
    batch: int
    in_features: int
    out_features: int
    components: int
    hidden: bool
    targets: tuple[Target, ...]

    def __str__(self) -> str:
        sizes = f"{self.batch}, {self.in_features}, {self.out_features}, {self.components}"
        return f"{'hidden ' if self.hidden else ''}{self.family} {sizes}"


SHAPES = (
    Shape(
        "diagonal", 64, 784, 10, 20, False,
        (
            Target("layer + SGD", "FC-1000 + SGD", 0.55),
            Target("layer", "floor", 2.2),
            Target("loop", "layer", 12, True),
        ),
    ),
    Shape(
        "diagonal", 256, 784, 10, 20, False,
        (Target("layer + SGD", "FC-1000 + SGD", 0.38), Target("layer", "floor", 1.6)),
    ),
    Shape("diagonal", 64, 784, 100, 20, False, (Target("layer", "floor", 1.8),)),
    Shape("diagonal", 1024, 512, 512, 8, True, (Target("layer", "floor", 1.25),)),
    Shape("low_rank", 128, 784, 10, 120, False, (Target("layer + SGD", "FC of equal size + SGD", 1.15),)),
    Shape("low_rank", 4096, 512, 512, 512, True, (Target("layer", "Linear-GELU-Linear", 1.15),)),
)  # fmt: skip


def training_step(model: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], x: Tensor, grad: Tensor) -> Step:
    """Return forward and backward with fresh gradients, as after ``zero_grad``."""

    def step() -> None:
        for tensor in (*parameters, x):
            tensor.grad = None
        model(x).backward(grad)

    return step


def with_sgd(step: Step, parameters: list[nn.Parameter]) -> Step:
    """Return the step followed by the update of plain SGD."""
    optimizer = torch.optim.SGD(parameters, lr=1e-6)

    def update() -> None:
        step()
        optimizer.step()

    return update


def loop(layer: GMLayer, x: Tensor) -> Tensor:
    """The layer's formula, one component after the other."""
    y = x.new_zeros(len(x), layer.out_features)
    for k in range(layer.num_components):
        a = x * layer.std[k]
        m, var = x @ layer.mean[k] + layer.bias[k], a.square().sum(-1) + functional.VARIANCE_FLOOR
        answer = layer.activation.gate(m, var)[:, None] * (a @ layer.coupling[k].T)
        y = y + answer + layer.activation.mean(m, var)[:, None] * layer.output_mean[k]
    return y * layer.num_components**-0.5


def floor(shape: Shape, x: Tensor) -> Step:
    """The matrix products that no implementation avoids, alone."""
    weight = torch.randn(shape.components * (shape.out_features + 2), shape.in_features)
    grad = torch.randn(shape.batch, len(weight))
    x = x.detach()

    def products() -> None:
        torch.mm(x, weight.t())
        torch.mm(grad.t(), x)
        if shape.hidden:
            torch.mm(grad, weight)

    return products


def block(shape: Shape, width: int, activation: nn.Module) -> nn.Sequential:
    """Linear - activation - Linear."""
    first = nn.Linear(shape.in_features, width, bias=False)
    return nn.Sequential(first, activation, nn.Linear(width, shape.out_features, bias=False))


def rows(shape: Shape) -> dict[str, Step]:
    """Return what is timed at a shape, by name; refuse if the layer's gradients are not the reference's."""
    layer = GMLayer(shape.in_features, shape.out_features, shape.components, covariance=shape.family)
    x = torch.randn(shape.batch, shape.in_features, requires_grad=shape.hidden)
    grad = torch.randn(shape.batch, shape.out_features)
    parameters = list(layer.parameters())
    check(layer, x, grad)
    layer_step = training_step(layer, parameters, x, grad)
    plain = training_step(layer, parameters, x, grad)

    def reference() -> None:
        with ops.use(gate="reference", mix="reference"):
            plain()

    compiled = training_step(torch.compile(layer, fullgraph=True), parameters, x, grad)
    steps = {"layer": layer_step, "reference": reference, "compiled": compiled}
    steps["layer + SGD"] = with_sgd(layer_step, parameters)
    if shape.family == "diagonal":
        steps["floor"] = floor(shape, x)
        if not shape.hidden:
            steps["loop"] = training_step(lambda x: loop(layer, x), parameters, x, grad)
    peers = {}
    if shape.family == "diagonal" and not shape.hidden:
        peers["FC-1000"] = block(shape, 1000, nn.ReLU())
    if shape.family == "low_rank":
        width = round(sum(p.numel() for p in parameters) / (shape.in_features + shape.out_features))
        name = "Linear-GELU-Linear" if shape.hidden else "FC of equal size"
        peers[name] = block(shape, width, nn.GELU() if shape.hidden else nn.ReLU())
    for name, net in peers.items():
        weights = list(net.parameters())
        steps[name] = training_step(net, weights, x, grad)
        steps[f"{name} + SGD"] = with_sgd(steps[name], weights)
    return steps


def check(layer: GMLayer, x: Tensor, grad: Tensor) -> None:
    """Hold value and gradients to the reference in float64; exit if they differ."""

    def run(layer: GMLayer, x: Tensor, grad: Tensor) -> list[Tensor]:
        y = layer(x)
        inputs = [*layer.parameters(), *([x] if x.requires_grad else [])]
        return [y, *torch.autograd.grad(y, inputs, grad)]

    fast = run(layer, x, grad)
    twin = GMLayer(
        layer.in_features, layer.out_features, layer.num_components, covariance=layer.covariance, dtype=torch.float64
    )
    twin.load_state_dict(layer.state_dict())
    with ops.use(gate="reference", mix="reference"):
        exact = run(twin, x.detach().double().requires_grad_(x.requires_grad), grad.double())
    for got, expected in zip(fast, exact):
        error = ((got - expected).norm() / expected.norm()).item()
        if not error < 1e-5:
            sys.exit(f"benchmark refused: the layer differs from the reference by {error:.1e} in relative norm")


def seconds(steps: dict[str, Step], repeats: int, least: float) -> dict[str, list[float]]:
    """Return times of one step per repeat, the rows interleaved within each repeat."""
    counts = {}
    for name, step in steps.items():
        for _ in range(3):
            step()
        start = time.perf_counter()
        step()
        counts[name] = max(1, round(least / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                step()
            times[name].append((time.perf_counter() - start) / counts[name])
    return times


def peak_bytes(step: Step) -> int:
    """Return the most bytes that torch's allocator held at once on the CPU during a step, above the start."""
    from torch.profiler import ProfilerActivity, profile

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    held = most = 0
    for event in sorted(
        (e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()
    ):
        held += event.nbytes()
        most = max(most, held)
    return most


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats, of which the median is taken (default: 5)")
    parser.add_argument("--least", type=float, default=0.2, help="seconds per row and repeat (default: 0.2)")
    parser.add_argument("--only", default="", help="only shapes whose name contains this")
    parser.add_argument("--csv", type=Path, default=Path("runs/bench/speed.csv"), help="where the times go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    records = []
    print(f"torch {torch.__version__}, {platform.machine()}, {options.threads} threads, {options.repeats} repeats")
    for shape in SHAPES:
        if options.only not in str(shape):
            continue
        steps = rows(shape)
        times = seconds(steps, options.repeats, options.least)
        print(f"\n{shape}")
        for name, found in times.items():
            middle = statistics.median(found)
            ratio = middle / statistics.median(times["layer"])
            print(
                f"  {name:<28}{middle * 1e3:9.3f} ms  [{min(found) * 1e3:.3f}, {max(found) * 1e3:.3f}]  "
                f"{ratio:6.2f} x layer"
            )
            records += [(str(shape), name, options.threads, index, value) for index, value in enumerate(found)]
        for target in shape.targets:
            ratios = [a / b for a, b in zip(times[target.row], times[target.peer])]
            reached = statistics.median(ratios)
            met = reached >= target.bound if target.at_least else reached <= target.bound
            sign = "≥" if target.at_least else "≤"
            print(
                f"  {'met   ' if met else 'MISSED'} {target.row} / {target.peer}: {reached:.2f} "
                f"[{min(ratios):.2f}, {max(ratios):.2f}], target {sign} {target.bound}"
            )
        if shape.hidden and shape.family == "diagonal":
            with ops.use(mix="one_gemm"):
                whole = peak_bytes(steps["layer"])
            share = peak_bytes(steps["layer"]) / whole
            print(f"  {'met   ' if share <= 0.5 else 'MISSED'} peak memory / one-GEMM form: {share:.2f}, target ≤ 0.5")
            records.append((str(shape), "peak memory / one-GEMM form", options.threads, 0, share))
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["shape", "row", "threads", "repeat", "seconds"])
        writer.writerows(records)
    print(f"\nwritten: {options.csv}")


if __name__ == "__main__":
    main()
