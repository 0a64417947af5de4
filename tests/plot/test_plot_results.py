"""Solutions, histories, mixtures and domains: what is drawn is what is there."""

import copy
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import EllipseCollection
from PIL import Image

from gmlayers import GMNM, GMLayer, LowRank, diagnostics, flows, plot, solve


@pytest.fixture(scope="module")
def string():
    u = solve.unknown(1)
    given = {"low 0": u == 0, "high 0": u == 1}
    return solve.solve(solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) + u == 0, given), 1e-6)


@pytest.fixture(scope="module")
def plate():
    u = solve.unknown(2)
    disc = solve.Problem(solve.Ball((0, 0), 1), solve.laplacian(u) == -4, {"boundary": u == 0})
    return solve.solve(disc, 1e-6)


@pytest.fixture(scope="module")
def wave():
    return solve.solve(solve.problems.wave().problem, 1e-2)


def test_a_curve_of_one_variable(string):
    left, right = plot.solution(string)
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose(y, np.sin(x) / np.sin(1), atol=1e-5)
    assert right.get_title() == "log₁₀ |residual|"


def test_a_field_is_white_outside_of_the_domain(plate):
    left, right = plot.solution(plate)
    for ax in (left, right):
        values = np.ma.filled(ax.images[0].get_array(), np.nan)
        assert np.isnan(values[0, 0])
        assert np.isfinite(values[120, 120])
    np.testing.assert_allclose(np.ma.filled(left.images[0].get_array(), np.nan)[120, 120], 1.0, atol=1e-5)


def test_one_pair_of_axes_of_ones_own(plate):
    _, axes = plt.subplots(1, 2)
    assert plot.solution(plate, ax=tuple(axes)) == tuple(axes)
    _, ax = plt.subplots()
    assert plot.solution(plate, ax=ax) == (ax,)


def test_a_pickled_answer_is_asked_for_its_problem(plate):
    for other in (pickle.loads(pickle.dumps(plate)), copy.deepcopy(plate)):
        with pytest.raises(ValueError, match="has lost its problem; pass problem="):
            plot.solution(other)
        assert len(plot.solution(other, plate.problem)) == 2


def test_a_slice_of_three_variables():
    u = solve.unknown(3)
    ball = solve.Problem(solve.Ball((0, 0, 0), 1), solve.laplacian(u) == -6, {"boundary": u == 0})
    answer = solve.solve(ball, 1e-3, max_components=700)
    left, _ = plot.solution(answer, along=(0, 2), at=(0, 0.5, 0))
    assert (left.get_xlabel(), left.get_ylabel()) == ("x", "z")
    centre = float(np.ma.filled(left.images[0].get_array(), np.nan)[120, 120])
    assert centre == pytest.approx(1 - 0.5**2, abs=1e-2)


def test_a_film_of_a_wave(wave, tmp_path):
    film = plot.animation(wave, frames=4)
    film.save(tmp_path / "wave.gif", writer="pillow")
    with Image.open(tmp_path / "wave.gif") as picture:
        assert picture.n_frames == 4
    left, _ = plot.solution(wave)
    assert left.get_ylabel() == "t"


def test_a_film_in_the_plane(tmp_path):
    u = solve.unknown(2, time=True)
    heat = solve.dt(u) - 0.1 * solve.laplacian(u) == 0
    start = {"initial": u == (lambda x: 1 - x[:, :2].square().sum(1)), "boundary": u == 0}
    answer = solve.solve(
        solve.Problem(solve.SpaceTime(solve.Ball((0, 0), 1), 1.0), heat, start), 1e-1, max_components=300
    )
    film = plot.animation(answer, frames=2)
    film.save(tmp_path / "heat.gif", writer="pillow")
    with Image.open(tmp_path / "heat.gif") as picture:
        assert picture.n_frames == 2


def test_histories(string):
    torch.manual_seed(0)
    ax = plot.history(string)
    assert len(ax.lines) == 2 + len(string.misfits)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), string.history.column("error").numpy())
    x = torch.rand(60, 1, dtype=torch.float64)
    fitted = solve.approximate(x, x.sin(), 1e-3)
    assert plot.history(fitted).get_xlabel() == "bumps"
    module = GMNM.from_data(x, 1, 3)
    found = solve.variable_projection(module, x, x.sin(), iterations=3)
    assert plot.history(found).get_xlabel() == "iteration"
    assert plot.history(found.history).get_title() == ""


def test_the_history_of_a_flow():
    target = flows.Roots(torch.zeros(1, 2), torch.eye(2)[None])
    start = flows.Roots(torch.ones(1, 2), torch.eye(2)[None])
    nodes = flows.hermite_nodes(2, 4, dtype=torch.float32)
    divergence = flows.Divergence(lambda x: -flows.log_density(target, x), nodes)
    ax = plot.history(list(flows.flow(divergence, start, step=0.1, steps=5)))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("time", "energy", "linear")


@pytest.mark.parametrize("covariance", ["low_rank", LowRank(3, base="diagonal"), "full", "shared_factor", "regression"])
def test_components_of_a_layer_are_where_its_law_is(covariance):
    torch.manual_seed(0)
    layer = GMLayer(6, 2, 4, covariance=covariance)
    (ellipses,) = (c for c in plot.components(layer).collections if isinstance(c, EllipseCollection))
    law = diagnostics.marginal(layer)
    seen = diagnostics.project(law, diagnostics.principal_components(law))
    np.testing.assert_allclose(ellipses.get_offsets(), seen.mean.numpy(), atol=1e-6)
    values = np.sqrt(np.linalg.eigvalsh(seen.cov.double().numpy()).clip(0))
    np.testing.assert_allclose(np.stack([ellipses._widths, ellipses._heights], 1), values, rtol=1e-4, atol=1e-6)


def test_two_layers_on_the_same_axes():
    torch.manual_seed(0)
    before, after = GMLayer(6, 2, 4), GMLayer(6, 2, 4)
    axes = diagnostics.principal_components(diagnostics.marginal(after))
    ax = plot.components(before, on=axes)
    assert plot.components(after, on=axes, ax=ax) is ax
    assert sum(isinstance(c, EllipseCollection) for c in ax.collections) == 2


@pytest.mark.parametrize(
    "domain",
    [
        solve.Box((0,), (1,)),
        solve.Box((0, 0), (2, 1)) - solve.Ball((0.5, 0.5), 0.2),
        solve.l_shape(),
        solve.Ball((0, 0, 0), 1),
        solve.SpaceTime(solve.Box((0,), (1,)), 2.0),
        solve.PointCloud(torch.rand(50, 2), {"sensors": torch.rand(9, 2)}),
    ],
    ids=lambda domain: f"{type(domain).__name__}{domain.dim}",
)
def test_every_part_of_a_domain_is_named(domain):
    names = {text.get_text() for text in plot.domain(domain).get_legend().get_texts()}
    parts = {part for part in domain.parts if part != "boundary"} or set(domain.parts)
    assert names == parts | ({"re-entrant corner"} if domain.corners else set())


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda: plot.solution(3), TypeError, "expected what solve.solve returned, got int"),
        (lambda: plot.history(3), TypeError, "expected the result of a solver, its history or a list"),
        (lambda: plot.history([]), ValueError, "there are no steps to draw"),
        (lambda: plot.components(3), TypeError, "expected a GMLayer or a mixture"),
        (lambda: plot.components(GMLayer(1, 1, 2)), ValueError, "the mixture has one dimension"),
        (lambda: plot.domain(3), TypeError, "expected a domain of gmlayers.solve, got int"),
        (
            lambda: plot.domain(solve.Box((0,) * 4, (1,) * 4)),
            ValueError,
            "to three coordinates, and the domain has 4",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, error, said):
    with pytest.raises(error, match=said):
        given()


def test_a_film_needs_time(string, wave):
    with pytest.raises(ValueError, match="it draws solutions in time"):
        plot.animation(string)
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        plot.animation(wave, frames=1)
