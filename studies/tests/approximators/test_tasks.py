import pytest
import torch

from gmlayers import solve
from gmlayers.solve.problems import Known, heat, poisson_b
from gmlayers_studies.approximators.tasks import Clock, EquationTask


class Now:
    seconds = 5.0

    def __call__(self):
        return self.seconds


def test_a_clock_counts_from_when_it_is_made_and_stops_while_it_is_stopped():
    now = Now()
    clock = Clock(2.0, now)
    now.seconds += 1
    assert clock.passed() == 1
    with clock.stopped():
        now.seconds += 10
        assert clock.passed() == 1
        with clock.stopped():
            now.seconds += 10
        assert clock.passed() == 1
    now.seconds += 0.5
    assert clock.passed() == 1.5


def fail(now):
    now.seconds += 1
    raise ValueError("judge")


def test_a_clock_goes_on_after_an_error():
    now = Now()
    clock = Clock(2.0, now)
    with pytest.raises(ValueError, match="judge"), clock.stopped():
        fail(now)
    now.seconds += 2
    assert clock.passed() == 2


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_clock_without_time_is_refused(seconds):
    with pytest.raises(ValueError, match=r"Clock: seconds must be positive, got"):
        Clock(seconds)


def test_a_collocation_knows_its_condition():
    known = poisson_b()
    points = torch.zeros(1, 2, dtype=torch.float64)
    assert EquationTask(known, points, points, 1.0).condition is known.problem.conditions["boundary"]


def two_conditions():
    u = solve.unknown(1)
    parts = {"low 0": u == 0, "boundary": u == 0}
    return Known(solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 1, parts), lambda x: x[:, 0])


@pytest.mark.parametrize("known", [heat, two_conditions])
def test_a_collocation_of_several_conditions_is_refused(known):
    with pytest.raises(ValueError, match="one condition, for 'boundary'"):
        EquationTask(known(), torch.zeros(1, 2), torch.zeros(1, 2), 1.0)
