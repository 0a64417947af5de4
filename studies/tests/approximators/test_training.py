import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from gmlayers_studies.approximators.losses import Misfit, misfits
from gmlayers_studies.approximators.mlp import MLP
from gmlayers_studies.approximators.tasks import Clock
from gmlayers_studies.approximators.training import (
    DAMPING,
    JUDGED,
    descend,
    levenberg_marquardt,
    paced,
    quasi_newton,
)


class Now:
    """A clock that is set forward by hand."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


def steps(now, durations):
    for i, duration in enumerate(durations):
        now.seconds += duration
        yield i


def test_the_first_step_the_last_and_some_in_between_are_yielded():
    now = Now()
    found = list(paced(steps(now, [0.01] * 1000), Clock(8.0, now)))
    assert found[0] == 0
    assert JUDGED / 2 <= len(found) <= 2 * JUDGED
    times = [0.01 * (step + 1) for step in found]
    assert all(after <= 1.1 * before + 0.02 for before, after in itertools.pairwise(times[:-1]))
    assert max(after - before for before, after in itertools.pairwise(times)) <= 8.0 / JUDGED + 0.02
    assert now.seconds == pytest.approx(8.0, abs=0.02)
    assert found[-1] == round(now.seconds / 0.01) - 1


def test_steps_that_end_early_end_with_their_last():
    now = Now()
    assert list(paced(steps(now, [0.003] * 3), Clock(8.0, now))) == [0, 2]
    assert list(paced(steps(now, []), Clock(8.0, now))) == []


def test_a_step_that_takes_longer_than_there_is_time_is_yielded_once_and_is_the_last():
    now = Now()
    assert list(paced(steps(now, [9.0, 1.0]), Clock(8.0, now))) == [0]


def test_time_in_which_a_state_is_judged_does_not_count():
    now = Now()
    clock, judged = Clock(1.0, now), 0
    for _ in paced(steps(now, [0.1] * 100), clock):
        judged += 1
        with clock.stopped():
            now.seconds += 5
    assert judged == 10
    assert clock.passed() == pytest.approx(1.0)


class Bowl(nn.Module):
    """A square with its least value 0 at (1, ..., 1)."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def loss(self):
        return ((self.p - 1) * torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)).square().sum()


@pytest.mark.parametrize("adam", [0.0, 0.3])
def test_descent_goes_on_to_the_minimum_and_ends_there(ticking, adam):
    bowl = Bowl()
    count = sum(1 for _ in descend(bowl, bowl.loss, ticking(), rate=0.1, adam=adam))
    assert count < 100
    assert bowl.loss().item() < 1e-28


def test_adam_alone_descends_for_all_of_the_time(ticking):
    bowl, clock = Bowl(), ticking(1e-3)
    for _ in paced(descend(bowl, bowl.loss, clock, rate=0.1, adam=1.0), clock):
        pass
    assert clock.passed() >= 1
    assert bowl.loss().item() < 1e-6


def test_a_step_to_where_nothing_is_finite_is_undone():
    p = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

    class RunAway(torch.optim.SGD):
        def step(self, closure):
            closure()
            with torch.no_grad():
                p.fill_(math.nan)

    list(quasi_newton(lambda: RunAway([p], lr=1.0), [p], lambda: p.square().sum(), lambda: False))
    assert p.item() == 2


@pytest.mark.parametrize("adam", [0.0, 0.5, 1.0])
def test_descent_lasts_no_more_than_a_loss_longer_than_there_is_time(adam):
    now, net = Now(), MLP(1, 5, 2, "tanh")
    x = torch.linspace(-1, 1, 30, dtype=torch.float64).unsqueeze(1)

    def slow():
        now.seconds += 0.1
        return (net(x) - torch.sin(9 * x)).square().mean()

    clock = Clock(3.0, now)
    for _ in paced(descend(net, slow, clock, rate=1e-2, adam=adam), clock):
        pass
    assert now.seconds == pytest.approx(3.0, abs=0.11)


def test_a_step_that_is_broken_off_ends_at_the_lowest_loss_it_met():
    p = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    tried = iter([5.0, -1.0, 1.5, 7.0])

    class Search(torch.optim.SGD):
        def step(self, closure):
            while True:
                closure()
                with torch.no_grad():
                    p.fill_(next(tried))

    left = iter([False, False, False, True])
    steps = list(quasi_newton(lambda: Search([p], lr=1.0), [p], lambda: p.square().sum(), lambda: next(left)))
    assert steps == [None]
    assert p.item() == -1


def small():
    torch.manual_seed(0)
    x = torch.rand(40, 2, dtype=torch.float64)
    return MLP(2, 3, 1, "tanh"), x, torch.sin(3 * x[:, :1] * x[:, 1:])


def values(x, y):
    return Misfit(lambda net, x: net(x), x, y, 1.0)


def test_a_step_of_levenberg_and_marquardt_is_that_of_damped_least_squares():
    net, x, y = small()
    rows = []
    for row in x:
        slopes = torch.autograd.grad(net(row).sum(), list(net.parameters()))
        rows.append(torch.cat([slope.flatten() for slope in slopes]).numpy())
    J, r = np.stack(rows), (net(x) - y).detach().numpy()[:, 0]
    D = np.diag(np.sqrt(np.square(J).sum(0)))
    before = nn.utils.parameters_to_vector(net.parameters()).detach().numpy().copy()
    step = np.linalg.lstsq(np.concatenate([J, math.sqrt(DAMPING) * D]), np.append(-r, np.zeros(len(D))), rcond=None)[0]
    next(levenberg_marquardt(net, [values(x, y)]))
    after = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    np.testing.assert_allclose(after, before + step, rtol=0, atol=1e-10 * np.abs(step).max())


def test_a_step_towards_an_equation_is_that_of_its_rows_by_hand(equation_task):
    net = MLP(2, 3, 2, "tanh")
    terms = [  # of a solution near by, so that the first step is one that gains
        term._replace(y=term.found(net, term.x).detach() + 1e-4 * torch.randn_like(term.y))
        for term in misfits(equation_task)
    ]
    by_hand = (lambda p: torch.func.hessian(lambda q: net(q)[0])(p).trace(), lambda p: net(p)[0])
    rows, left = [], []
    for term, found, weight in zip(terms, by_hand, (equation_task.weight, 1.0)):
        size = math.sqrt(weight / len(term.x))
        for row, y in zip(term.x, term.y[:, 0]):
            value = found(row)
            slopes = torch.autograd.grad(value, list(net.parameters()), materialize_grads=True)
            rows.append(size * torch.cat([slope.flatten() for slope in slopes]).numpy())
            left.append(size * (value - y).item())
    J, r = np.stack(rows), np.array(left)
    D = np.diag(np.sqrt(np.square(J).sum(0)))
    before = nn.utils.parameters_to_vector(net.parameters()).detach().numpy().copy()
    step = np.linalg.lstsq(np.concatenate([J, math.sqrt(DAMPING) * D]), np.append(-r, np.zeros(len(D))), rcond=None)[0]
    next(levenberg_marquardt(net, terms))
    after = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    np.testing.assert_allclose(after, before + step, rtol=0, atol=1e-8 * np.abs(step).max())


def test_the_squares_never_grow_and_steps_end_at_a_minimum():
    net, x, y = small()
    with torch.no_grad():
        y = net(x) + 0.01 * y  # of a net near by
    squares = [float((net(x) - y).detach().square().sum())]
    for _ in levenberg_marquardt(net, [values(x, y)]):
        squares.append(float((net(x) - y).detach().square().sum()))
        assert squares[-1] <= squares[-2]
    assert squares[-1] < 0.1 * squares[0]
    slopes = torch.autograd.grad((net(x) - y).square().sum(), list(net.parameters()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6 * squares[0] ** 0.5


def test_a_net_that_fits_exactly_stays_as_it_is():
    net, x, _ = small()
    before = [p.detach().clone() for p in net.parameters()]
    list(levenberg_marquardt(net, [values(x, net(x).detach())]))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before))
