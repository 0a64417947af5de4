"""Bumps are drawn where they are: at exp(-½) of their largest value, in the plane that is looked at."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import EllipseCollection, LineCollection

from gmlayers import GMNM, plot
from gmlayers.plot import _module


def drawn(ax, kind):
    return [c for c in ax.collections if isinstance(c, kind)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bump_has_fallen_to_exp_minus_half_on_its_ellipse(dtype):
    torch.manual_seed(0)
    module = GMNM(2, 1, 1, domain=(-1, 1), bias=False, dtype=dtype)
    with torch.no_grad():
        module.mean.copy_(torch.tensor([[0.1, -0.2]]))
        module.projection.copy_(torch.tensor([[[3.0, 1.0], [0.5, 4.0]]]))
        module.weight.fill_(2.0)
    (ellipse,) = drawn(plot.bumps(module), EllipseCollection)
    width, height, angle = (float(v[0]) for v in (ellipse._widths * 2, ellipse._heights * 2, ellipse._angles))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    around = np.linspace(0, 2 * math.pi, 50)
    edge = turn @ np.stack([width / 2 * np.cos(around), height / 2 * np.sin(around)]) + np.array([[0.1], [-0.2]])
    value = module(torch.from_numpy(edge.T).to(dtype)).detach().double()
    torch.testing.assert_close(value, torch.full_like(value, 2 * math.exp(-0.5)), rtol=1e-5, atol=0)


def test_a_ridge_is_two_lines_at_exp_minus_half():
    module = GMNM(2, 1, 1, form="ridge", domain=(-1, 1), bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.mean.copy_(torch.tensor([[0.3, 0.1]]))
        module.projection.copy_(torch.tensor([[[2.0, -3.0]]]))
        module.weight.fill_(-1.0)
    (lines,) = drawn(plot.bumps(module), LineCollection)
    ends = torch.tensor(np.stack(lines.get_segments()))
    assert len(ends) == 2
    offset = (ends - module.mean.detach()) @ module.projection.detach()[0, 0]
    torch.testing.assert_close(offset.abs(), torch.ones_like(offset), rtol=1e-9, atol=1e-9)
    assert offset[0, 0] * offset[1, 0] < 0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**20))
def test_in_a_plane_a_bump_is_the_gaussian_that_its_trace_says(d, rank, seed):
    g = torch.Generator().manual_seed(seed)
    module = GMNM(d, 1, 3, rank=rank, domain=(-2, 2), bias=False, dtype=torch.float64)
    along = tuple(torch.randperm(d, generator=g)[:2].tolist())
    at = torch.rand(d, generator=g, dtype=torch.float64)
    plane = _module.plane_through("module", at, [-2.0] * d, [2.0] * d, along, at)
    traces = _module._traces(module, plane, 0)
    moving = torch.rand(20, 2, generator=g, dtype=torch.float64)
    away = torch.einsum("mpk,nmk->nmp", traces.projection, moving.unsqueeze(1) - traces.centre)
    found = (traces.peak * torch.exp(-0.5 * away.square().sum(-1))).sum(1)
    torch.testing.assert_close(found, module(plane.points(moving)).detach()[:, 0], rtol=1e-9, atol=1e-12)


def test_the_function_is_drawn_where_it_is():
    module = GMNM(2, 2, 5, domain=((0, -1), (1, 3)), dtype=torch.float64)
    (image,) = plot.module(module, output=1).images
    values, (left, right, low, high) = image.get_array(), image.get_extent()
    assert (left, right, low, high) == (0, 1, -1, 3)
    corner = module(torch.tensor([[0.0, -1.0], [1.0, -1.0], [0.0, 3.0]], dtype=torch.float64))[:, 1].tolist()
    np.testing.assert_allclose([values[0, 0], values[0, -1], values[-1, 0]], corner, rtol=1e-12)


def test_one_variable_is_a_curve_with_bars_below():
    module = GMNM(1, 1, 4, domain=(0, 2))
    ax = plot.module(module)
    (curve,), (bars,) = ax.lines, drawn(ax, LineCollection)
    assert len(bars.get_segments()) == 4
    assert max(segment[:, 1].max() for segment in bars.get_segments()) < curve.get_ydata().min()


def test_axes_of_ones_own_are_drawn_in_and_returned():
    figure, ax = plt.subplots()
    assert plot.module(GMNM(2, 1, 3), ax=ax) is ax
    assert ax.figure is figure


def test_many_bumps_are_drawn_in_part_and_the_title_says_so():
    ax = plot.bumps(GMNM(2, 1, 200, domain=(-1, 1)))
    assert ax.get_title() == "200 bumps, the largest 150 of them drawn"
    assert sum(len(c.get_offsets()) for c in drawn(ax, EllipseCollection)) == 150


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda: plot.module(torch.nn.Linear(2, 1)), TypeError, "expected a GMNM, got Linear"),
        (lambda: plot.module(GMNM(2, 1, 3), output=1), ValueError, "output must be from 0 to 0, got 1"),
        (lambda: plot.module(GMNM(3, 1, 3), along=(0, 3)), ValueError, "along must name two of the 3 coordinates"),
        (lambda: plot.module(GMNM(3, 1, 3), along=(1, 1)), ValueError, "along must name two of the 3 coordinates"),
        (lambda: plot.bumps(GMNM(3, 1, 3), at=(1, 2)), ValueError, "at must have 3 finite numbers"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, error, said):
    with pytest.raises(error, match=said):
        given()
