"""Levenberg–Marquardt on residuals that have nothing to do with bumps."""

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.solve import Iteration
from gmlayers.solve.engine.levenberg_marquardt import STEPPING, Descent, Limits, Model

F64 = torch.float64


class At(NamedTuple):
    parameters: torch.Tensor
    left: torch.Tensor
    cost: float


@dataclass(frozen=True)
class Residual:
    """A residual as a function of parameters (k, p); its derivative is by autograd."""

    function: object
    rounding: float = 0.0
    written: list = field(default_factory=list)

    def at(self, parameters):
        left = self.function(parameters)
        cost = float(left.square().sum())
        return At(parameters, left, cost if math.isfinite(cost) else math.inf)

    def jacobian(self, point):
        with torch.enable_grad():
            found = torch.autograd.functional.jacobian(self.function, point.parameters)
        return found.reshape(point.left.numel(), -1)

    def size(self, point):
        return math.sqrt(point.cost)

    def adapted(self, point):
        return self, point

    def write(self, point):
        self.written.append(point)


def limits(iterations=200, least_reduction=0.0, max_seconds=math.inf, callback=None):
    return Limits.of("test", iterations, least_reduction, 1e-14, max_seconds, None, callback)


def descend(residual, start, **options):
    with torch.no_grad():
        descent = Descent.of(residual, residual.at(torch.tensor(start, dtype=F64)), limits(**options))
        return descent.run(), descent


def rosenbrock(p):
    x, y = p[0]
    return torch.stack([10 * (y - x**2), 1 - x])


def test_rosenbrocks_valley():
    residual = Residual(rosenbrock, rounding=1e-14)
    reason, descent = descend(residual, [[-1.2, 1.0]])
    assert reason in ("exact", "gradient")
    torch.testing.assert_close(descent.point.parameters, torch.ones(1, 2, dtype=F64), rtol=1e-10, atol=1e-10)
    sizes = descent.history.column("residual")
    assert (sizes.diff() < 0).all()
    assert len(sizes) < 40
    assert residual.written == [descent.point]


@given(st.integers(0, 1000))
def test_a_linear_residual_ends_at_its_least_squares_solution(seed):
    g = torch.Generator().manual_seed(seed)
    A, b = torch.randn(9, 4, dtype=F64, generator=g), torch.randn(9, dtype=F64, generator=g)
    reason, descent = descend(Residual(lambda p: A @ p.flatten() - b), [[0.0, 0.0], [0.0, 0.0]])
    assert reason in ("gradient", "step")
    want = torch.linalg.lstsq(A, b.unsqueeze(1)).solution
    torch.testing.assert_close(descent.point.parameters.view(4, 1), want, rtol=1e-6, atol=1e-6)


@given(st.integers(-6, 6))
def test_other_units_of_the_parameters_take_the_same_steps(power):
    """The scaling is that of the columns; the kinds of parameters have units of their own."""
    unit = torch.tensor([1.0, 10.0**power], dtype=F64)
    plain = descend(Residual(rosenbrock), [[-1.2, 1.0]], iterations=5)[1]
    start = (torch.tensor([[-1.2, 1.0]], dtype=F64) / unit).tolist()
    scaled = descend(Residual(lambda p: rosenbrock(p * unit)), start, iterations=5)[1]
    want, found = (d.history.column("residual") for d in (plain, scaled))
    torch.testing.assert_close(found, want, rtol=1e-6, atol=0)


def test_a_residual_that_is_not_finite_beyond_a_wall_is_not_gone_to():
    """log x - 3 from x = 0.1: the first steps would go below 0."""
    residual = Residual(lambda p: torch.log(p[0]) + 3, rounding=1e-13)
    reason, descent = descend(residual, [[2.0]])
    assert reason in ("exact", "gradient", "step")
    assert descent.point.parameters.item() == pytest.approx(math.exp(-3), rel=1e-9)


def test_why_it_ends():
    assert descend(Residual(rosenbrock), [[-1.2, 1.0]], iterations=3)[0] == "iterations"
    assert descend(Residual(rosenbrock), [[-1.2, 1.0]], least_reduction=0.9)[0] == "reduction"
    assert descend(Residual(rosenbrock), [[-1.2, 1.0]], max_seconds=1e-12)[0] == "time"
    assert descend(Residual(rosenbrock, rounding=1e3), [[-1.2, 1.0]])[0] == "exact"
    assert descend(Residual(lambda p: p[0] ** 2 + 1), [[0.0]])[0] == "gradient"
    discrete = Residual(lambda p: (p[0] * 4).round() + p[0] - p[0].detach() + 1)  # its derivative promises what is not
    assert descend(discrete, [[0.01]])[0] == "step"


def test_the_callback_has_every_iteration_when_it_is_written():
    seen = []
    residual = Residual(rosenbrock)

    def watch(step):
        seen.append((step, len(residual.written)))
        assert torch.is_grad_enabled()

    began = time.perf_counter()
    _, descent = descend(residual, [[-1.2, 1.0]], iterations=3, callback=watch)
    assert [step for step, _ in seen] == list(descent.history)
    assert [count for _, count in seen] == [1, 2, 3, 4]
    assert all(isinstance(step, Iteration) for step, _ in seen)
    assert [step.number for step, _ in seen] == [0, 1, 2, 3]
    assert 0 <= seen[0][0].seconds <= seen[-1][0].seconds <= time.perf_counter() - began


def test_what_ends_a_run_early_leaves_the_last_point():
    residual = Residual(rosenbrock)

    def enough(step):
        if step.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        descend(residual, [[-1.2, 1.0]], callback=enough)
    _, other = descend(Residual(rosenbrock), [[-1.2, 1.0]], iterations=2)
    assert torch.equal(residual.written[-1].parameters, other.point.parameters)


def test_a_residual_may_change_on_the_way():
    """Where it does, what was gained under the other one does not end the run."""

    @dataclass(frozen=True)
    class Falling(Residual):
        target: float = 1.0

        def adapted(self, point):
            if self.target < 1e-3:
                return self, point
            other = Falling(lambda p, t=self.target / 2: p[0] - t, target=self.target / 2)
            return other, other.at(point.parameters)

    start = Falling(lambda p: p[0] - 1.0)
    reason, descent = descend(start, [[3.0]], least_reduction=1.0)
    assert reason in ("reduction", "gradient", "exact")
    assert descent.residual.target < 1e-3
    assert start.written == []
    assert descent.residual.written == [descent.point]


def test_things_that_are_hardly_seen_have_the_unit_of_their_kind():
    """Of two of a kind one has no influence: its unit is not 0."""
    residual = Residual(lambda p: torch.stack([p[0, 0] - 2, p[0, 1] * 3 - 1, 0 * p[1].sum()]))
    with torch.no_grad():
        start = residual.at(torch.zeros(2, 2, dtype=F64))
        model = Model.at(residual, start, torch.zeros(4, dtype=F64))
    want = torch.tensor([1.0, 3.0, STEPPING.seen, 3 * STEPPING.seen], dtype=F64)
    torch.testing.assert_close(model.scale, want)
    _, descent = descend(residual, [[0.0, 0.0], [7.0, 7.0]])
    assert descent.point.parameters[1].tolist() == [7.0, 7.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "test: iterations must be at least 1, got 0"),
        ({"least_reduction": -1.0}, "test: least_reduction must be finite and not negative, got -1.0"),
        ({"max_seconds": 0.0}, "test: max_seconds must be positive, got 0.0"),
    ],
)
def test_limits_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        limits(**options)
