"""Check and time the kernels on a GPU, all in one run: ``python benchmarks/gpu.py``.

First the tests of the kernels, compiled and not interpreted; then times, as medians over repeats, beside a peer in the
same run; peak memory; training with batched trials and with CUDA graphs. Everything is printed and written as CSV.
``--smoke`` goes through the same code at tiny sizes, on a CPU in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU, to see that the script runs")
parser.add_argument("--repeats", type=int, default=5, help="repeats, of which the median is taken (default: 5)")
parser.add_argument("--skip-tests", action="store_true", help="times only")
parser.add_argument("--csv", type=Path, default=Path("runs/bench/gpu.csv"), help="where the times go")
options = parser.parse_args()
if options.smoke:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, below

import torch  # noqa: E402
import triton  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gmlayers import GMConv2d, GMFeedForward, GMLayer, GMNMAttention, GMNMConv2d, GMNMFeedForward, ops  # noqa: E402
from gmlayers.experiments.batched import BatchedTrainer  # noqa: E402
from gmlayers.experiments.data import Data  # noqa: E402
from gmlayers.experiments.models import MODELS, Shape  # noqa: E402
from gmlayers.experiments.trainer import Trainer, Trial  # noqa: E402
from gmlayers.nn import GMLSTMCell, GMNMGRUCell, GMNMLSTMCell  # noqa: E402
from gmlayers.ops.mix import triton as mix_kernels  # noqa: E402

DEVICE = "cpu" if options.smoke else "cuda"
Step = Callable[[], object]
records: list[tuple[str, str, int, float]] = []


def synchronise() -> None:
    """Wait for the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(steps: dict[str, Step], case: str, least: float = 0.2) -> dict[str, float]:
    """Return the median seconds of each step, interleaved over repeats, and print them."""
    counts = {}
    for name, step in steps.items():
        for _ in range(1 if options.smoke else 3):
            step()  # tunes and compiles
        synchronise()
        start = time.perf_counter()
        step()
        synchronise()
        counts[name] = 1 if options.smoke else max(1, round(least / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(1 if options.smoke else options.repeats):
        for name, step in steps.items():
            synchronise()
            start = time.perf_counter()
            for _ in range(counts[name]):
                step()
            synchronise()
            times[name].append((time.perf_counter() - start) / counts[name])
            records.append((case, name, repeat, times[name][-1]))
    print(f"\n{case}")
    for name, found in times.items():
        print(
            f"  {name:<44}{statistics.median(found) * 1e3:10.3f} ms  [{min(found) * 1e3:.3f}, {max(found) * 1e3:.3f}]"
        )
    return {name: statistics.median(found) for name, found in times.items()}


def verdict(name: str, value: float, bound: float) -> None:
    """Print a ratio beside its target."""
    print(f"  {'met   ' if value >= bound else 'MISSED'} {name}: {value:.2f}, target ≥ {bound}")
    records.append(("target", name, 0, value))


def extra_memory(step: Step) -> int:
    """Return the bytes that a step holds at its peak beyond what was there before."""
    if DEVICE != "cuda":
        return 0
    step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kept = step()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def tests() -> None:
    """Run the tests of the kernels, compiled."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if options.smoke:
        environment["TRITON_INTERPRET"] = "1"
    files = ["tests/ops/test_triton.py", "tests/ops/test_triton_ops.py"]
    outcome = subprocess.run([sys.executable, "-m", "pytest", "-q", "--tb=short", *files], env=environment, check=False)
    print(f"tests of the kernels: {'passed' if outcome.returncode == 0 else 'FAILED'}")
    records.append(("tests", "exit status", 0, outcome.returncode))


def mix(N: int, features: int, out: int, K: int, dtype: torch.dtype) -> None:
    """The soft mixture beside one matrix product of as many operations."""
    gate = torch.rand(N, K, device=DEVICE)
    weight = torch.randn(K, out, features, device=DEVICE, dtype=dtype) * features**-0.5
    x, grad = torch.randn(N, features, device=DEVICE, dtype=dtype), torch.randn(N, out, device=DEVICE, dtype=dtype)
    large, wide = weight.flatten(0, 1), torch.randn(N, K * out, device=DEVICE, dtype=dtype)
    precisions = ("ieee", "tf32", "tf32x3") if dtype == torch.float32 else ("ieee",)
    flops = 2 * N * K * out * features
    steps: dict[str, Step] = {
        "one product forward": lambda: x @ large.T,
        "three products": lambda: (x @ large.T, wide.T @ x, wide @ large),
    }
    for p in precisions:
        steps[f"mix forward, {p}"] = lambda p=p: mix_kernels.forward(gate, weight, x, input_precision=p)
        steps[f"mix backward, {p}"] = lambda p=p: mix_kernels.backward(
            gate, weight, x, grad, (True, True, True), input_precision=p
        )
    if N * K * out < 2**31:
        steps["mix forward, plain operations"] = lambda: ops.mix(gate.to(dtype), weight, x, implementation="reference")
    case = f"mix {N}, {features}, {out}, K = {K}, {dtype}"
    times = seconds(steps, case)
    for p in precisions:
        print(f"  {flops / times[f'mix forward, {p}'] / 1e12:.1f} TFLOP/s forward, {p}")
        verdict(
            f"{case}, {p}: rate forward / rate of one product",
            times["one product forward"] / times[f"mix forward, {p}"],
            0.7,
        )
        both = times[f"mix forward, {p}"] + times[f"mix backward, {p}"]
        verdict(f"{case}, {p}: rate forward and backward / rate of three products", times["three products"] / both, 0.7)
    extra = extra_memory(lambda: mix_kernels.forward(gate, weight, x))
    size = N * out * x.element_size()
    print(f"  forward holds {extra / size:.2f} outputs at its peak (1 is the output itself)")
    records.append((case, "peak / output", 0, extra / size))


def gate_and_bumps(rows: int, K: int) -> None:
    """The elementwise kernels beside plain operations, forward and backward."""
    for name in ("relu", "gelu"):
        m, var = torch.randn(rows, K, device=DEVICE), torch.rand(rows, K, device=DEVICE) + 0.5
        m.requires_grad_()
        var.requires_grad_()

        def step(implementation: str, m: Tensor = m, var: Tensor = var, name: str = name) -> Step:
            def run() -> object:
                values = ops.gate(m, var, name, implementation=implementation)
                return torch.autograd.grad(values, (m, var), (m.detach(), m.detach()))

            return run

        seconds({i: step(i) for i in ("triton", "closed", "reference")}, f"gate {name} {rows}, {K}")
    for d, m, p in ((2, 50, 2), (64, 512, 8)):
        x, mean = torch.randn(rows, d, device=DEVICE), torch.randn(m, d, device=DEVICE, requires_grad=True)
        projection = (torch.randn(m, p, d, device=DEVICE) * d**-0.5).requires_grad_()

        def bump(implementation: str, x: Tensor = x, mean: Tensor = mean, projection: Tensor = projection) -> Step:
            def run() -> object:
                f = ops.bumps(x, mean, projection, implementation=implementation)
                return torch.autograd.grad(f, (mean, projection), f.detach())

            return run

        seconds({i: bump(i) for i in ("triton", "products", "reference")}, f"bumps {rows}, d = {d}, m = {m}, p = {p}")


def small_batches(batch: int) -> None:
    """A training step of the README's size: launched one by one, compiled, recorded as CUDA graphs."""
    x, y = torch.randn(batch, 784, device=DEVICE), torch.randint(10, (batch,), device=DEVICE)

    def step(model: Callable[[Tensor], Tensor], layer: nn.Module) -> Step:
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)

        def run() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        return run

    steps: dict[str, Step] = {}
    for family, K in (("low_rank", 120), ("diagonal", 20)):
        layers = [GMLayer(784, 10, K, covariance=family, device=DEVICE) for _ in range(3)]
        steps[f"{family}, one by one"] = step(layers[0], layers[0])
        compiled = torch.compile(layers[1], fullgraph=True, mode="default" if options.smoke else "reduce-overhead")
        steps[f"{family}, compiled with CUDA graphs"] = step(compiled, layers[1])
        if DEVICE == "cuda":
            recorded = torch.cuda.make_graphed_callables(layers[2], (torch.randn_like(x),))
            steps[f"{family}, recorded as it is"] = step(recorded, layers[2])
    seconds(steps, f"training step, batch {batch}")


class First(nn.Module):
    """The first of what a module returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return it."""
        found = self.module(x)
        return found[0] if isinstance(found, tuple) else found


def blocks(batch: int, length: int, width: int, dtype: torch.dtype) -> None:
    """Feed-forward blocks and convolutions at one number of parameters, checked in float64 and timed as they are."""
    x = torch.randn(batch, length, width, device=DEVICE, dtype=dtype)
    images = torch.randn(batch, 32, 4 * 7, 4 * 7, device=DEVICE, dtype=dtype)
    mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    rows: dict[str, tuple[nn.Module, Tensor]] = {
        "GELU MLP": (mlp, x),
        "GMFeedForward": (GMFeedForward(width), x),
        "gate alone": (GMFeedForward(width, level=False, activation="gelu_integral"), x),
        "GMNMFeedForward": (GMNMFeedForward(width), x),
        "nn.Conv2d": (nn.Conv2d(32, 64, 3, padding=1), images),
        "GMConv2d": (GMConv2d(32, 64, 3, padding=1), images),
        "GMNMConv2d": (GMNMConv2d(32, 64, 3, padding=1), images),
        "attention, 1 component": (First(GMNMAttention(width, 1, batch_first=True)), x),
        "attention, 2 components": (First(GMNMAttention(width, 1, components=2, batch_first=True)), x),
        "nn.LSTMCell": (First(nn.LSTMCell(width, width)), x[0]),
        "GMLSTMCell": (First(GMLSTMCell(width, width)), x[0]),
        "GMNMLSTMCell": (First(GMNMLSTMCell(width, width)), x[0]),
        "GMNMGRUCell": (First(GMNMGRUCell(width, width)), x[0]),
    }
    steps: dict[str, Step] = {}
    for name, (net, inputs) in rows.items():
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.1 * torch.randn_like(p))
            few = inputs[:2].cpu().double()
            exact = copy.deepcopy(net).double()(few)
            found = net.to(device=DEVICE, dtype=dtype)(inputs[:2]).cpu().double()
        error = float((found - exact).norm() / exact.norm())
        bound = 3e-2 if dtype == torch.bfloat16 else 1e-4
        print(f"  {name}: relative error {error:.1e}{'' if error <= bound else ', TOO LARGE'}")
        records.append((f"blocks {dtype}", f"relative error of {name}", 0, error))
        for how, model in ((name, net), (f"{name}, compiled", torch.compile(net, fullgraph=True))):

            def run(model: Callable[[Tensor], Tensor] = model, net: nn.Module = net, x: Tensor = inputs) -> None:
                net.zero_grad()
                model(x).sum().backward()

            steps[how] = run
    seconds(steps, f"blocks, {batch} x {length} x {width} and images, {dtype}")


def trials(count: int, images: int, epochs: int) -> None:
    """Train many seeds at once, beside one alone, on images of MNIST's size."""
    # random images: only the time is asked for, and the real ones may not be there
    data = Data(
        name="random",
        train_x=torch.rand(images, 1, 28, 28),
        train_y=torch.randint(10, (images,)),
        test_x=torch.rand(max(1, images // 6), 1, 28, 28),
        test_y=torch.randint(10, (max(1, images // 6),)),
        validation=1,
        classes=tuple("0123456789"),
    )
    recipe = replace(MODELS["low_rank"].recipe, epochs=epochs)
    several = [Trial("low_rank", Shape(), recipe, seed, device=DEVICE) for seed in range(count)]
    times: dict[str, list[float]] = {}
    for compiled in (False, True):
        word = ", compiled" if compiled else ""
        first = Trainer(several[0], data, compiled=compiled)
        times[f"one trial{word}"] = [row["seconds"] for row in first.run()]
        together = BatchedTrainer(several, data, compiled=compiled)
        times[f"{count} trials at once{word}"] = [
            sum(row["seconds"] for row in rows if row is not None) for rows in together.run()
        ]
    print(f"\n{count} trials, {images} images, seconds an epoch after the first")
    for name, found in times.items():
        later = found[1:]
        records.extend(("trials", name, epoch, value) for epoch, value in enumerate(later))
        print(f"  {name:<44}{statistics.median(later):10.3f} s  [{min(later):.3f}, {max(later):.3f}]")
    for word in ("", ", compiled"):
        one, all_ = (statistics.median(times[f"{n}{word}"][1:]) for n in ("one trial", f"{count} trials at once"))
        verdict(f"{count} trials{word}: one after the other / at once", count * one / all_, 20)


def main() -> None:
    """Run everything."""
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU, interpreted"
    print(f"{name}, torch {torch.__version__}, triton {triton.__version__}")
    if not options.skip_tests:
        tests()
    if options.smoke:
        mix(65, 33, 17, 3, torch.float32)
        gate_and_bumps(9, 5)
        small_batches(4)
        blocks(2, 3, 8, torch.float32)
        trials(3, 60, 2)
    else:
        for dtype in (torch.bfloat16, torch.float32):
            mix(16384, 1024, 1024, 16, dtype)
            mix(256, 784, 10, 20, dtype)
        gate_and_bumps(16384, 512)
        for batch in (64, 1024):
            small_batches(batch)
        for dtype in (torch.bfloat16, torch.float32):
            blocks(8, 1024, 512, dtype)
        trials(30, 60000, 4)
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "row", "repeat", "value", "device", "torch", "triton"])
        writer.writerows((*record, name, torch.__version__, triton.__version__) for record in records)
    print(f"\nwritten: {options.csv}")


if __name__ == "__main__":
    main()
