import math

import pytest
import torch
from torch import nn

from gmlayers.experiments.approximation.tasks import Clock
from gmlayers.experiments.approximation.training import JUDGED, descend, paced, quasi_newton


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
    assert JUDGED / 2 <= len(found) <= JUDGED + 2
    assert now.seconds == pytest.approx(8.0, abs=0.02)
    assert found[-1] == round(now.seconds / 0.01) - 1


def test_steps_that_end_early_end_with_their_last():
    now = Now()
    assert list(paced(steps(now, [0.01] * 3), Clock(8.0, now))) == [0, 2]
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

    list(quasi_newton(lambda: RunAway([p], lr=1.0), [p], lambda: p.square().sum()))
    assert p.item() == 2
