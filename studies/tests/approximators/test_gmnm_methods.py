from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gmlayers.nn import GMNM
from gmlayers_studies.approximators import gmnm
from gmlayers_studies.approximators.gmnm import Solve, VariableProjection, gmnm_count
from gmlayers_studies.approximators.nets import stored
from gmlayers_studies.approximators.targets import FIT2D, poisson_a_task
from gmlayers_studies.approximators.tasks import Budget, Clock

F64 = torch.float64


@pytest.mark.parametrize("form", ["mahalanobis", "diagonal", "ridge"])
@pytest.mark.parametrize("d", [1, 2, 9])
def test_the_count_of_a_gmnm_is_that_of_the_module(form, d):
    assert gmnm_count(d, 5, form) == stored(GMNM(d, 1, 5, form=form))


def test_solve_goes_on_with_more_bumps_up_to_its_budget(ticking):
    task = poisson_a_task()
    x = torch.rand(1000, 2, dtype=F64) * 2 - 1
    states = list(Solve().fit(task, Budget(3000, ticking(1e-3), 0)))
    assert (states[-1].predict(x)[:, 0] - task.known.exact(x)).abs().max() < 1e-10
    assert states[0].parameters < states[-1].parameters <= 3000


def test_solve_is_given_its_time_in_seconds_of_the_wall(monkeypatch):
    own, wall, given = [0.0], [0.0], []

    def a_second_long(*_, max_seconds, **__):
        given.append(max_seconds)
        own[0] += 1
        wall[0] += 3  # something else is running
        return SimpleNamespace(u=torch.nn.Identity(), reason="bumps")

    monkeypatch.setattr(gmnm.solve, "solve", a_second_long)
    monkeypatch.setattr(gmnm, "time", SimpleNamespace(perf_counter=lambda: wall[0]))
    list(Solve().fit(poisson_a_task(), Budget(None, Clock(4.0, lambda: own[0]), 0)))
    assert given == [4, 9, 6, 3]


def test_variable_projection_ends_when_it_has_converged(ticking):
    task = replace(FIT2D["product"], function=lambda x, y: torch.exp(-(x**2) - 3 * y**2)).data(0, 100)
    clock = ticking(1e-6)
    *_, state = VariableProjection().fit(task, Budget(14, clock, 0))
    assert clock.passed() < 1
    assert (state.predict(task.x) - task.y).square().mean().sqrt() < 1e-10  # it is one bump
