"""Time the library against what it replaces and against its floor, behind a correctness gate: ``make bench``.

All rows of a case are timed in one process, interleaved; every figure is a median over repeats with its range, and the
table gives ratios, because absolute times drift on shared machines. The first row of a case is ours; it is timed only
if its values and gradients equal the reference's.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gmlayers import (
    GMConv2d,
    GMFeedForward,
    GMLayer,
    GMNMAttention,
    GMNMConv2d,
    GMNMFeedForward,
    convert,
    functional,
    ops,
)
from gmlayers.functional import gmnm
from gmlayers.nn import GMLSTMCell, GMNMGRUCell, GMNMLSTMCell

Step = Callable[[], object]
Rows = dict[str, Step]


@dataclass(frozen=True)
class Target:
    """A ratio that should not be exceeded (or, with ``at_least``, reached)."""

    row: str
    peer: str
    bound: float
    at_least: bool = False


@dataclass(frozen=True)
class Case:
    """What is timed together."""

    name: str
    rows: Callable[[], Rows]
    targets: tuple[Target, ...] = ()
    memory_peer: str | None = None
    """An implementation of mix beside which the first row should take half the memory."""
    peaks: tuple[Target, ...] = ()
    """Ratios of the peak memory of rows."""


@dataclass(frozen=True)
class Shape:
    """A shape of the layer and its covariance family."""

    family: str
    batch: int
    in_features: int
    out_features: int
    components: int
    hidden: bool = False

    def __str__(self) -> str:
        sizes = f"{self.batch}, {self.in_features}, {self.out_features}, {self.components}"
        return f"{'hidden ' if self.hidden else ''}{self.family} {sizes}"


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
    """The matrix products of the formula, alone; for a dense root x·A, readings times B, and the gradients of both."""
    if shape.family == "full":
        root = torch.randn(shape.in_features, shape.components * shape.in_features)
        coupling = torch.randn(root.shape[1], shape.out_features)
        reading, slope = torch.randn(2, shape.batch, root.shape[1])
        answer, x = torch.randn(shape.batch, shape.out_features), x.detach()
        pairs = ((x, root), (reading, coupling), (answer, coupling.t()), (reading.t(), answer), (x.t(), slope))

        def dense() -> None:
            for one, other in pairs:
                torch.mm(one, other)

        return dense
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


def layer_rows(shape: Shape) -> Rows:
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
    steps: Rows = {"layer": layer_step, "reference": reference, "compiled": compiled}
    steps["layer + SGD"] = with_sgd(layer_step, parameters)
    if shape.family in ("diagonal", "full"):
        steps["floor"] = floor(shape, x)
    if shape.family == "diagonal" and not shape.hidden:
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


def gradients(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> Step:
    """Return value and gradients of the sum of the function's values."""

    def step() -> tuple[Tensor, ...]:
        values = function(*inputs)
        wanted = [t for t in inputs if t.requires_grad]
        return *values, *torch.autograd.grad(list(values), wanted, [torch.ones_like(v) for v in values])

    return step


def agree(ours: Step, reference: Step, name: str) -> None:
    """Exit if two steps give different tensors."""
    for got, expected in zip(ours(), reference()):  # type: ignore[call-overload]
        error = ((got - expected).norm() / expected.norm()).item()
        if not error < 1e-5:
            sys.exit(f"benchmark refused: {name} differs from the reference by {error:.1e} in relative norm")


def inference_rows(shape: Shape) -> Rows:
    """The layer without gradients, folded and as it is, and a net of its size."""
    layer = GMLayer(shape.in_features, shape.out_features, shape.components, covariance=shape.family)
    size = sum(p.numel() for p in layer.parameters())
    net = block(shape, round(size / (shape.in_features + shape.out_features)), nn.ReLU())
    x = torch.randn(shape.batch, shape.in_features)

    def without_gradients(model: nn.Module) -> Step:
        def step() -> tuple[Tensor]:
            with torch.no_grad():
                return (model(x),)

        return step

    folded = convert.fold(layer)
    steps = {
        "folded": without_gradients(folded),
        "layer": without_gradients(layer),
        "Linear-ReLU-Linear": without_gradients(net),
        "folded, compiled": without_gradients(torch.compile(folded, fullgraph=True)),
        "Linear-ReLU-Linear, compiled": without_gradients(torch.compile(net, fullgraph=True)),
    }
    agree(steps["folded"], steps["layer"], "convert.fold")
    return steps


def both(nets: dict[str, nn.Module], x: Tensor) -> Rows:
    """Return training steps with plain SGD of nets as they are and compiled."""
    steps: Rows = {}
    for name, net in nets.items():
        parameters = list(net.parameters())
        with torch.no_grad():
            grad = torch.randn_like(net(x))
        steps[name] = with_sgd(training_step(net, parameters, x, grad), parameters)
        compiled = training_step(torch.compile(net, fullgraph=True), parameters, x, grad)
        steps[f"{name}, compiled"] = with_sgd(compiled, parameters)
    return steps


class Gated(nn.Module):
    """A gated block as in Llama."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def feed_forward_rows(batch: int, length: int, width: int) -> Rows:
    """Blocks of a transformer at one number of parameters."""
    gated = Gated(width, round(8 * width / 3))
    nets = {
        "GMFeedForward": GMFeedForward(width),
        "GELU MLP": nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
        "gate alone": GMFeedForward(width, level=False, activation="gelu_integral"),
        "GMNMFeedForward": GMNMFeedForward(width),
        "SwiGLU": gated,
        "SwiGLU, converted": convert.glu_to_gm(gated.gate, gated.up, gated.down),
    }
    return both(nets, torch.randn(batch, length, width, requires_grad=True))


def convolution_rows(batch: int, channels: int, size: int, out: int) -> Rows:
    """A convolution of Gaussian neurons, and what it is made of: one to all projections, and one by 1 x 1."""
    conv = GMConv2d(channels, out, 3, padding=1)
    projections = 2 * conv.num_components
    parts = nn.Sequential(nn.Conv2d(channels, projections, 3, padding=1), nn.ReLU(), nn.Conv2d(projections, out, 1))
    nets = {
        "GMConv2d": conv,
        "its convolutions": parts,
        "GMConv2d, gelu": GMConv2d(channels, out, 3, padding=1, activation="gelu"),
        "GMNMConv2d": GMNMConv2d(channels, out, 3, padding=1),
        "nn.Conv2d of equal size": nn.Conv2d(channels, out, 3, padding=1),
    }
    return both(nets, torch.randn(batch, channels, size, size, requires_grad=True))


class Causal(nn.Module):
    """Attention of a module to what came before, by torch's or by ours."""

    def __init__(self, attention: nn.Module, length: int) -> None:
        super().__init__()
        self.attention, self.ours = attention, isinstance(attention, GMNMAttention)
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        if self.ours:
            return self.attention(x, is_causal=True)[0]
        return self.attention(x, x, x, attn_mask=self.mask, need_weights=False, is_causal=True)[0]


def attention_rows(batch: int, length: int, width: int, heads: int) -> Rows:
    """Causal attention by mixtures, and torch's."""
    modules = {
        "one component": GMNMAttention(width, heads, batch_first=True),
        "nn.MultiheadAttention": nn.MultiheadAttention(width, heads, batch_first=True),
        "2 components": GMNMAttention(width, heads, components=2, batch_first=True),
        "4 components": GMNMAttention(width, heads, components=4, batch_first=True),
    }
    nets: dict[str, nn.Module] = {name: Causal(module, length) for name, module in modules.items()}
    return both(nets, torch.randn(batch, length, width, requires_grad=True))


class UnfusedLSTMCell(nn.LSTMCell):
    """The formula of an LSTM cell in plain operations."""

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return h and c after a token."""
        assert hx is not None
        h, c = hx
        linear = nn.functional.linear
        both = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        into, forget, new, out = both.chunk(4, -1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(c), c


class OneStep(nn.Module):
    """A cell with a state."""

    def __init__(self, cell: nn.Module, batch: int, hidden: int, *, pair: bool) -> None:
        super().__init__()
        self.cell, self.pair = cell, pair
        self.register_buffer("h", torch.randn(batch, hidden))
        self.register_buffer("c", torch.randn(batch, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Return h after a token, with c so that both have gradients."""
        if not self.pair:
            return self.cell(x, self.h)
        h, c = self.cell(x, (self.h, self.c))
        return h + c


def cell_rows(batch: int, inputs: int, hidden: int) -> Rows:
    """One step of recurrent cells at one number of parameters."""
    cells = {
        "GMNMLSTMCell": GMNMLSTMCell(inputs, hidden),
        "LSTM cell, unfused": UnfusedLSTMCell(inputs, hidden),
        "GMLSTMCell": GMLSTMCell(inputs, hidden),
        "GMLSTMCell, no variance": GMLSTMCell(inputs, hidden, spread=False),
        "nn.LSTMCell": nn.LSTMCell(inputs, hidden),
        "GMNMGRUCell": GMNMGRUCell(inputs, hidden),
        "nn.GRUCell": nn.GRUCell(inputs, hidden),
    }
    nets: dict[str, nn.Module] = {
        name: OneStep(cell, batch, hidden, pair="LSTM" in name) for name, cell in cells.items()
    }
    return both(nets, torch.randn(batch, inputs, requires_grad=True))


def mix_rows(batch: int, in_features: int, out_features: int, components: int, *, hidden: bool) -> Rows:
    """``ops.mix`` and torch's bilinear layer, which is the same form with the weight in another order."""
    gate = torch.rand(batch, components, requires_grad=True)
    weight = torch.randn(components, out_features, in_features).div_(in_features**0.5).requires_grad_()
    x = torch.randn(batch, in_features, requires_grad=hidden)
    bilinear = nn.Bilinear(components, in_features, out_features, bias=False)
    with torch.no_grad():
        bilinear.weight.copy_(weight.transpose(0, 1))
    steps: Rows = {
        "mix": gradients(lambda *t: [ops.mix(t[0], t[1], t[2])], (gate, weight, x)),
        "reference": gradients(lambda *t: [ops.mix(t[0], t[1], t[2], implementation="reference")], (gate, weight, x)),
        "torch.nn.Bilinear": gradients(lambda *t: [bilinear(t[0], t[2])], (gate, bilinear.weight, x)),
    }
    agree(steps["mix"], steps["reference"], "mix")
    large, grad = weight.detach().flatten(0, 1), torch.randn(batch, components * out_features)

    def products() -> None:
        torch.mm(x.detach(), large.t())
        torch.mm(grad.t(), x.detach())
        if hidden:
            torch.mm(grad, large)

    return steps | {"floor": products}


def module(batch: int, features: int, components: int, projections: int) -> list[Tensor]:
    """Return x, mean, projection, weight of a Gaussian mixture module."""
    x, mean = torch.rand(batch, features), torch.rand(components, features)
    projection = torch.randn(components, projections, features).mul_(features**-0.5)
    weight = torch.randn(components, 1)
    return [x, *(t.requires_grad_() for t in (mean, projection, weight))]


def einsum_module(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    """The module as the formula reads, with tensors of shape (batch, m, d) and (batch, m, p)."""
    y = torch.einsum("kpd,nkd->nkp", projection, x[:, None] - mean)
    return torch.exp(-0.5 * y.square().sum(-1)) @ weight


def nested(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and Laplacian by autograd of autograd, as physics-informed networks are usually trained."""
    x = x.detach().requires_grad_()
    value = model(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    second = [torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[1])]
    return value, torch.stack(second).sum(0)[:, None]


def laplacian_rows() -> Rows:
    """Value and Laplacian of a module on the plane, and the gradients of both."""
    inputs = module(2600, 2, 50, 2)

    def ours(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        f, laplacian = ops.bumps_laplacian(x, mean, projection)
        return f @ weight, laplacian @ weight

    def closed(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return gmnm.gmnm(x, mean, projection, weight), gmnm.laplacian(x, mean, projection, weight)

    steps: Rows = {
        "bumps_laplacian": gradients(ours, inputs),
        "functional": gradients(closed, inputs),
        "compiled": gradients(torch.compile(ours, fullgraph=True), inputs),
        "nested autograd": gradients(lambda x, *p: nested(lambda x: einsum_module(x, *p), x), inputs),
    }
    agree(steps["bumps_laplacian"], steps["functional"], "bumps_laplacian")
    if find_spec("kan") is None:
        print("pykan is not installed (in a clone: pip install './studies[peers]'): its row is left out")
        return steps
    os.environ.setdefault("MPLBACKEND", "agg")
    from kan import KAN

    network = KAN([2, 10, 1], auto_save=False)
    network.speed()
    parameters = [p for p in network.parameters() if p.requires_grad]

    def kan() -> None:
        values = nested(network, inputs[0])
        torch.autograd.grad(values, parameters, [torch.ones_like(v) for v in values], allow_unused=True)

    return steps | {"pykan [2, 10, 1]": kan}


def bumps_rows(batch: int, features: int, components: int, projections: int) -> Rows:
    """Value of a module, and its gradients."""
    inputs = module(batch, features, components, projections)

    def ours(x: Tensor, mean: Tensor, projection: Tensor, weight: Tensor) -> list[Tensor]:
        return [ops.bumps(x, mean, projection) @ weight]

    steps: Rows = {
        "bumps": gradients(ours, inputs),
        "functional": gradients(lambda *t: [gmnm.gmnm(*t)], inputs),
        "einsum": gradients(lambda *t: [einsum_module(*t)], inputs),
    }
    agree(steps["bumps"], steps["functional"], "bumps")
    x, large = inputs[0], inputs[2].detach().flatten(0, 1)
    grad = torch.randn(batch, len(large))

    def products() -> None:
        torch.mm(x, large.t())
        torch.mm(grad.t(), x)

    return steps | {"floor": products}


def layer_case(shape: Shape, *targets: Target, memory_peer: str | None = None) -> Case:
    """Return the case of a shape of the layer."""
    return Case(str(shape), partial(layer_rows, shape), targets, memory_peer)


ENVIRONMENT = {
    "torch": f"torch {torch.__version__}",
    "python": f"Python {platform.python_version()}",
    "machine": f"{torch.backends.cpu.get_cpu_capability()} {platform.machine()}",
    "system": platform.system(),
}

FC = ("layer + SGD", "FC-1000 + SGD")
CASES = (
    layer_case(
        Shape("diagonal", 64, 784, 10, 20),
        Target(*FC, 0.55),
        Target("layer", "floor", 2.2),
        Target("loop", "layer", 12, at_least=True),
    ),
    layer_case(Shape("diagonal", 256, 784, 10, 20), Target(*FC, 0.38), Target("layer", "floor", 1.6)),
    layer_case(Shape("diagonal", 64, 784, 100, 20), Target("layer", "floor", 1.8)),
    layer_case(
        Shape("diagonal", 1024, 512, 512, 8, hidden=True), Target("layer", "floor", 1.25), memory_peer="one_gemm"
    ),
    layer_case(Shape("full", 64, 784, 10, 5), Target("layer", "floor", 1.5)),
    layer_case(Shape("low_rank", 128, 784, 10, 120), Target("layer + SGD", "FC of equal size + SGD", 1.15)),
    layer_case(Shape("low_rank", 4096, 512, 512, 512, hidden=True), Target("layer", "Linear-GELU-Linear", 1.15)),
    Case(
        "feed-forward 8 x 1024, 512",
        partial(feed_forward_rows, 8, 1024, 512),
        (
            Target("GMFeedForward", "GELU MLP", 1.15),
            Target("GMFeedForward, compiled", "GELU MLP, compiled", 1.15),
            Target("SwiGLU, converted", "SwiGLU", 1.05),
        ),
    ),
    Case(
        "convolution 256, 32 x 28 x 28, 64",
        partial(convolution_rows, 256, 32, 28, 64),
        (Target("GMConv2d", "its convolutions", 1.5),),
        peaks=(Target("GMConv2d", "its convolutions", 2),),
    ),
    Case(
        "attention 4 x 1024, 256, 4 heads",
        partial(attention_rows, 4, 1024, 256, 4),
        (
            Target("one component", "nn.MultiheadAttention", 1.2),
            Target("one component, compiled", "nn.MultiheadAttention, compiled", 1.2),
        ),
    ),
    Case(
        "cell 32, 64, 64",
        partial(cell_rows, 32, 64, 64),
        (
            Target("GMNMLSTMCell", "LSTM cell, unfused", 1.5),
            Target("GMLSTMCell", "LSTM cell, unfused", 1.5),
            Target("GMNMGRUCell", "LSTM cell, unfused", 1.5),
            Target("GMLSTMCell, compiled", "LSTM cell, unfused, compiled", 1.5),
        ),
    ),
    Case(
        "inference low_rank 1, 784, 10, 120",
        partial(inference_rows, Shape("low_rank", 1, 784, 10, 120)),
        (
            Target("folded", "Linear-ReLU-Linear", 3.5),
            Target("folded, compiled", "Linear-ReLU-Linear, compiled", 2),
        ),
    ),
    *(
        Case(f"inference {shape}", partial(inference_rows, shape))
        for shape in (
            Shape("low_rank", 128, 784, 10, 120),
            Shape("diagonal", 64, 784, 10, 20),
            Shape("diagonal", 1024, 512, 512, 8),
        )
    ),
    Case("mix 64, 784, 10, 20", partial(mix_rows, 64, 784, 10, 20, hidden=False)),
    Case("hidden mix 1024, 512, 512, 8", partial(mix_rows, 1024, 512, 512, 8, hidden=True)),
    Case(
        "GMNM value + Laplacian 2600, d = 2, m = 50, p = 2",
        laplacian_rows,
        (
            Target("nested autograd", "bumps_laplacian", 20, at_least=True),
            Target("pykan [2, 10, 1]", "bumps_laplacian", 10, at_least=True),
        ),
    ),
    Case(
        "GMNM 256, d = 3072, m = 512, p = 8", partial(bumps_rows, 256, 3072, 512, 8), (Target("bumps", "floor", 1.3),)
    ),
)


def seconds(steps: dict[str, Step], repeats: int, least: float) -> dict[str, list[float]]:
    """Return times of one step per repeat, the rows interleaved within each repeat."""
    counts = {}
    for name, step in steps.items():
        start = time.perf_counter()
        while time.perf_counter() - start < least:  # warm up
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


def verdict(target: Target, times: dict[str, list[float]]) -> str:
    """Return the ratio beside its target, repeat by repeat."""
    ratios = [a / b for a, b in zip(times[target.row], times[target.peer])]
    reached = statistics.median(ratios)
    met = reached >= target.bound if target.at_least else reached <= target.bound
    return (
        f"  {'met   ' if met else 'MISSED'} {target.row} / {target.peer}: {reached:.2f} "
        f"[{min(ratios):.2f}, {max(ratios):.2f}], target {'≥' if target.at_least else '≤'} {target.bound}"
    )


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
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--csv", type=Path, default=Path("runs/bench/speed.csv"), help="where the times go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    records = []
    print(f"{', '.join(ENVIRONMENT.values())}; {options.threads} threads, {options.repeats} repeats")
    for case in CASES:
        if options.only not in case.name:
            continue
        print(f"\n{case.name}")
        steps = case.rows()
        times = seconds(steps, options.repeats, options.least)
        ours = next(iter(times))
        for name, found in times.items():
            middle = statistics.median(found)
            ratio = middle / statistics.median(times[ours])
            print(
                f"  {name:<28}{middle * 1e3:9.3f} ms  [{min(found) * 1e3:.3f}, {max(found) * 1e3:.3f}]  "
                f"{ratio:6.2f} x {ours}"
            )
            records += [(case.name, name, options.threads, index, value) for index, value in enumerate(found)]
        for target in case.targets:
            if {target.row, target.peer} <= times.keys():
                print(verdict(target, times))
        for target in case.peaks:
            share = peak_bytes(steps[target.row]) / peak_bytes(steps[target.peer])
            met = "met   " if share <= target.bound else "MISSED"
            print(f"  {met} peak memory of {target.row} / {target.peer}: {share:.2f}, target ≤ {target.bound}")
            records.append((case.name, f"peak memory of {target.row} / {target.peer}", options.threads, 0, share))
        if case.memory_peer is not None:
            with ops.use(mix=case.memory_peer):
                whole = peak_bytes(steps[ours])
            share = peak_bytes(steps[ours]) / whole
            met = "met   " if share <= 0.5 else "MISSED"
            print(f"  {met} peak memory / {case.memory_peer}: {share:.2f}, target ≤ 0.5")
            records.append((case.name, f"peak memory / {case.memory_peer}", options.threads, 0, share))
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "row", "threads", "repeat", "seconds", *ENVIRONMENT])
        writer.writerows((*record, *ENVIRONMENT.values()) for record in records)
    print(f"\nwritten: {options.csv}")


if __name__ == "__main__":
    main()
