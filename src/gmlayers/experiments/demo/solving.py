"""The first half of the demo: an equation and a function from data, beside what everybody knows."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from gmlayers import plot, solve
from gmlayers.experiments.demo.page import Part

Step = Callable[[str], object]
Function = Callable[[Tensor], Tensor]

PINN_SECONDS = 3.0
"""A physics-informed network is trained for so many processor seconds."""

PINN_WIDTH, PINN_RATE, PINN_EDGE = 32, 5e-3, 100.0
"""Width, rate and the weight of the boundary were the best of five choices."""

ROWS = 500
"""The function is known at so many random points."""

MLP_WIDTHS, MLP_RATE, MLP_ITERATIONS = (100, 100), 3e-3, 1000
"""A network of scikit-learn does best with these, of four choices that were tried."""

CODE = """from gmlayers import solve

u = solve.unknown(2)
plate = solve.Box((-1, -1), (1, 1)) - solve.Ball((0.2, -0.1), 0.4)
answer = solve.solve(solve.Problem(plate, solve.laplacian(u) == source, {"boundary": u == edge}))
fitted = solve.approximate(x, y, tolerance=1e-4)"""


class Tried(NamedTuple):
    """What one method made of one task with one seed."""

    error: float
    seconds: float
    numbers: int
    function: Function


def steps(seeds: int) -> int:
    """Return the number of runs that are shown as progress."""
    return 5 * seeds


def show(seeds: int, step: Step) -> Part:
    """Solve and fit, and return the tables and the picture."""
    problem, exact = plate()
    tried: dict[tuple[str, str], list[Tried]] = {}
    tasks = {
        ("equation", "gmlayers, solve"): lambda _: by_solve(problem, exact),
        ("equation", f"PINN, 3 layers of {PINN_WIDTH}"): lambda seed: by_pinn(problem, exact, seed),
        ("function", "gmlayers, approximate"): by_approximate,
        ("function", "Gaussian process"): by_gaussian_process,
        ("function", f"network, {len(MLP_WIDTHS)} layers of {MLP_WIDTHS[0]}"): by_network,
    }
    for (task, name), run in tasks.items():
        for seed in range(seeds):
            step(f"{task}: {name}, seed {seed}")
            tried.setdefault((task, name), []).append(run(seed))
    return Part(
        title="An equation, and a function from data",
        text=(
            f"A Poisson equation on a plate with a hole, and a function of two variables with a narrow peak, known at "
            f"{ROWS} random points. Nothing was tuned: numbers, places and widths of the bumps are found."
        ),
        code=CODE,
        picture=_picture(tried, problem, exact),
        caption=(
            "Above: the plate, the solution, and the errors of both methods on one scale. Below: the function with the "
            "bumps that were found, and the errors of all three."
        ),
        header=["task", "method", "numbers", "relative error", "seconds"],
        rows=[
            [
                task,
                name,
                f"{runs[0].numbers:,}",
                f"{statistics.median(r.error for r in runs):.0e}",
                f"{statistics.median(r.seconds for r in runs):.1f}",
            ]
            for (task, name), runs in tried.items()
        ],
        verdict=[
            f"Errors are relative, on other points; medians of {seeds} seed{'s' * (seeds > 1)}, seconds of one core.",
            "Good for linear equations and for functions of up to three or so variables, where many digits are wanted.",
            "A Gaussian process has one length scale everywhere; where that fits it is a match, and it has error bars.",
            "Not for tables with many columns, and not beyond the data: a sum of bumps does not extrapolate.",
        ],
    )


def plate() -> tuple[solve.Problem, Function]:
    r"""Return Poisson's equation on a square with a hole, whose solution is :math:`\sin \pi x \sin \pi y^2`."""
    known, exact = solve.problems.poisson_b()
    domain = solve.Box((-1, -1), (1, 1)) - solve.Ball((0.2, -0.1), 0.4)
    return solve.Problem(domain, known.equation, {"boundary": known.unknown == exact}), exact


def surface(x: Tensor) -> Tensor:
    """Return a function of two variables: slow waves, and a peak of a twentieth of the width."""
    peak = torch.exp(-200 * (x - x.new_tensor((0.3, -0.2))).square().sum(1))
    return torch.sin(3 * x[:, 0]) * x[:, 1] + peak


def by_solve(problem: solve.Problem, exact: Function) -> Tried:
    """Solve the equation."""
    start = time.process_time()
    answer = solve.solve(problem, 1e-8)
    seconds = time.process_time() - start
    return _judged(lambda x: answer.u(x)[:, 0], exact, _inside(problem), seconds, _size(answer.u))


def by_pinn(problem: solve.Problem, exact: Function, seed: int) -> Tried:
    """Train a physics-informed network (Raissi et al., 2019) by Adam, its rate falling like a cosine."""
    torch.manual_seed(seed)
    w = PINN_WIDTH
    net = nn.Sequential(
        nn.Linear(2, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 1)
    )
    right = problem.equation.right
    assert callable(right)
    inside, edge = problem.domain.interior(1000), problem.domain.boundary(400).x
    source = right(inside).float()
    x, on_edge, given = inside.float().requires_grad_(), edge.float(), exact(edge).float()
    optimizer = torch.optim.Adam(net.parameters(), PINN_RATE)
    start = time.process_time()
    while (passed := (time.process_time() - start) / PINN_SECONDS) < 1:
        optimizer.param_groups[0]["lr"] = PINN_RATE * (1 + math.cos(math.pi * passed)) / 2
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        curved = [torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2)]
        equation = (curved[0] + curved[1] - source).square().mean()
        loss = equation + PINN_EDGE * (net(on_edge)[:, 0] - given).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.process_time() - start
    return _judged(lambda p: net(p.float())[:, 0].double(), exact, _inside(problem), seconds, _size(net))


def by_approximate(seed: int) -> Tried:
    """Fit the function by as many bumps as it takes."""
    x, y, other = _rows(seed)
    start = time.process_time()
    fitted = solve.approximate(x, y.unsqueeze(1), tolerance=1e-4)
    seconds = time.process_time() - start
    tried = _judged(lambda p: fitted.f(p)[:, 0], surface, other, seconds, _size(fitted.f))
    return tried._replace(function=_Fitted(fitted))


class _Fitted:
    """A function that remembers the bumps that it is made of."""

    def __init__(self, fitted: solve.Approximation) -> None:
        self.fitted = fitted

    def __call__(self, x: Tensor) -> Tensor:
        return self.fitted.f(x)[:, 0]


def by_gaussian_process(seed: int) -> Tried:
    """Fit a Gaussian process of scikit-learn; its length scales maximise the likelihood."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    x, y, other = _rows(seed)
    kernel = ConstantKernel(10.0, (1e-3, 1e6)) * RBF(np.ones(2), (0.05, 20.0))  # pyright: ignore[reportArgumentType]
    process = GaussianProcessRegressor(kernel, alpha=1e-8, normalize_y=True)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its search ends in rounding, at the largest likelihood
        process.fit(x.numpy(), y.numpy())
    seconds = time.process_time() - start
    return _judged(lambda p: torch.from_numpy(process.predict(p.numpy())), surface, other, seconds, len(x) + 3)


def by_network(seed: int) -> Tried:
    """Fit a neural network of scikit-learn."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    x, y, other = _rows(seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it has as long as it has
        net = MLPRegressor(
            hidden_layer_sizes=MLP_WIDTHS,
            learning_rate_init=MLP_RATE,
            max_iter=MLP_ITERATIONS,
            tol=0.0,
            n_iter_no_change=MLP_ITERATIONS,
            random_state=seed,
        ).fit(x.numpy(), y.numpy())
    seconds = time.process_time() - start
    numbers = sum(part.size for part in (*net.coefs_, *net.intercepts_))
    return _judged(lambda p: torch.from_numpy(net.predict(p.numpy())), surface, other, seconds, numbers)


def _rows(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random rows, their values, and other points inside to judge by."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(ROWS, 2, generator=generator, dtype=torch.float64) - 1
    other = 0.98 * (2 * torch.rand(4000, 2, generator=generator, dtype=torch.float64) - 1)
    return x, surface(x), other


def _inside(problem: solve.Problem) -> Tensor:
    return problem.domain.interior(4000, held_out=True)


def _judged(function: Function, exact: Function, x: Tensor, seconds: float, numbers: int) -> Tried:
    with torch.no_grad():
        error = (function(x) - exact(x)).square().mean().sqrt() / exact(x).std()
    return Tried(float(error), seconds, numbers, function)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _picture(tried: dict[tuple[str, str], list[Tried]], problem: solve.Problem, exact: Function) -> Figure:
    figure = Figure(figsize=(13, 6), layout="constrained")
    first, second = figure.subplots(2, 4)
    plot.domain(problem.domain, ax=first[0])
    first[0].set(title="the plate", xlabel="", ylabel="")
    first[0].get_legend().remove()
    x = _grid()
    runs = _first_runs(tried, "equation")
    inside = problem.domain.inside(x)
    solution = next(iter(runs.values())).function(x)
    _field(first[1], torch.where(inside, solution, math.nan), "the solution")
    _errors(first[2:], runs, exact, inside, least=-14.0)
    runs = _first_runs(tried, "function")
    found = next(iter(runs.values())).function
    assert isinstance(found, _Fitted)
    plot.module(found.fitted.f, ax=second[0])
    second[0].set(xlim=(-1, 1), ylim=(-1, 1), xlabel="", ylabel="")
    second[0].set_title(f"the function, and its {found.fitted.f.num_components} bumps", fontsize="small")
    _errors(second[1:], runs, surface, torch.ones_like(inside), least=-7.0)
    return figure


def _first_runs(tried: dict[tuple[str, str], list[Tried]], task: str) -> dict[str, Tried]:
    return {name: results[0] for (of, name), results in tried.items() if of == task}


def _grid() -> Tensor:
    side = torch.linspace(-0.98, 0.98, 141, dtype=torch.float64)
    return torch.cartesian_prod(side, side)


def _errors(axes: Sequence[Axes], runs: dict[str, Tried], exact: Function, inside: Tensor, *, least: float) -> None:
    x = _grid()
    for ax, (name, run) in zip(axes, runs.items()):
        wrong = (run.function(x).detach() - exact(x)).abs().clamp(min=1e-17).log10()
        _field(ax, torch.where(inside, wrong, math.nan), f"log₁₀ |error|: {name}", (least, 0.0))


def _field(ax: Axes, values: Tensor, title: str, between: tuple[float | None, float | None] = (None, None)) -> None:
    side = round(math.sqrt(len(values)))
    image = values.detach().reshape(side, side).T.numpy()
    shown = ax.imshow(image, origin="lower", extent=(-1, 1, -1, 1), vmin=between[0], vmax=between[1], cmap="viridis")
    ax.figure.colorbar(shown, ax=ax, shrink=0.7)
    ax.set_title(title, fontsize="small")
