"""Rows of bumps: the fast paths against `functional.gmnm.derivative`, and a collocation against its problem."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmlayers import solve
from gmlayers.functional import gmnm
from gmlayers.solve.domains import Points
from gmlayers.solve.engine.bump_sets import Bumps, Ring
from gmlayers.solve.engine.collocation import CONDITION, SAMPLED, Block, Collocation
from gmlayers.solve.engine.derivatives import along_axes, differentiable
from gmlayers.solve.engine.least_squares import BLOCK
from gmlayers.solve.engine.placement import Assembly
from gmlayers.solve.engine.row_groups import RowGroup

F64 = torch.float64
AXES = [(), (0,), (2,), (0, 0), (1, 1), (0, 1), (1, 2)]


def bumps(m, d, dtype):
    return torch.randn(m, d, dtype=dtype), torch.rand(m, d, dtype=dtype) + 0.3


@pytest.mark.parametrize("axes", AXES)
def test_rows_of_bumps_along_the_axes_are_the_reference(axes, dtype):
    x, (mean, scale), c = torch.randn(9, 3, dtype=dtype), bumps(5, 3, dtype), torch.randn(9, 1, dtype=dtype)
    want = gmnm.derivative(x, mean, torch.diag_embed(scale), axes)
    torch.testing.assert_close(along_axes(x, {axes: c}, mean, scale), c * want)
    torch.testing.assert_close(along_axes(x, {axes: c[:1]}, mean, scale), c[0] * want)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("p", [1, 2, 4])
def test_rows_of_bumps_of_any_form_are_the_reference(axes, p, dtype):
    x, mean, projection = (torch.randn(shape, dtype=dtype) for shape in ((9, 3), (5, 3), (5, p, 3)))
    c = torch.randn(9, 1, dtype=dtype)
    want = c * gmnm.derivative(x, mean, projection, axes)
    torch.testing.assert_close(differentiable([axes], x, c, mean, projection), want, rtol=1e-4, atol=1e-5)
    if dtype is F64:
        torch.testing.assert_close(differentiable([axes], x, c, mean, projection), want, rtol=1e-10, atol=1e-11)


@given(st.lists(st.sampled_from(AXES), min_size=1, unique=True), st.integers(0, 1000))
def test_a_sum_of_derivatives_is_that_of_the_reference(several, seed):
    torch.manual_seed(seed)
    x, (mean, scale), c = torch.randn(4, 3, dtype=F64), bumps(3, 3, F64), torch.randn(4, len(several), dtype=F64)
    A = torch.diag_embed(scale)
    want = sum(c[:, i : i + 1] * gmnm.derivative(x, mean, A, axes) for i, axes in enumerate(several))
    by_axes = {axes: c[:, i : i + 1] for i, axes in enumerate(several)}
    torch.testing.assert_close(along_axes(x, by_axes, mean, scale), want, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(differentiable(several, x, c, mean, A), want, rtol=1e-10, atol=1e-11)


def test_rows_of_any_form_have_gradients():
    args = [torch.randn(shape, dtype=F64).requires_grad_() for shape in ((3, 2), (3, 4), (2, 2), (2, 2, 2))]
    several = [(), (0,), (1, 1), (0, 1)]
    assert torch.autograd.gradcheck(lambda *a: differentiable(several, *a), args)
    assert torch.autograd.gradgradcheck(lambda *a: differentiable(several, *a), args)


# --- a collocation -------------------------------------------------------------------------------------------


def problem():
    u = solve.unknown(2)
    u_x, u_y = solve.grad(u)
    inside = u_x.derivative(1) + solve.laplacian(u) * (lambda x: x[:, 0].cos()) - 2 * u_y + u == (lambda x: x.sum(1))
    conditions = {"low 0": solve.normal_derivative(u) == 1, "high 1": [u == 0, u_y + 3 * u == 2]}
    return solve.Problem(solve.Box((-1, -1), (1, 1)), inside, conditions)


def assembled(n=40, volumes=(1.0,)):
    given = problem()

    def place(part):
        domain = given.domain
        return [(Points(domain.interior(n)) if part is None else domain.boundary(n, part), v) for v in volumes]

    return Collocation.of(given, place)


def set_of_bumps(m=6):
    return Bumps(*bumps(m, 2, F64))


def by_reference(block, set_):
    """The rows of a block by the reference, from the coefficients that it has."""
    A = torch.diag_embed(set_.scale)
    return sum(c * gmnm.derivative(block.points.x, set_.mean, A, axes) for axes, c in block.coefficients.items())


def test_rows_of_every_block_are_the_reference():
    set_ = set_of_bumps()
    names = []
    for block in assembled().blocks:
        names.append(block.name)
        want = by_reference(block, set_)
        torch.testing.assert_close(block.rows(set_), want, rtol=1e-10, atol=1e-11)
        group, A = RowGroup.of_block(block), torch.diag_embed(set_.scale)
        found = group.feature(group.x, group.coefficients, set_.mean, A)
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-11)
        assert torch.equal(group.target, block.target)
        weight = torch.randn(6, 1, dtype=F64)
        torch.testing.assert_close(block.answers(set_, weight), want @ weight, rtol=1e-10, atol=1e-10)
        values = gmnm.bumps(block.points.x, set_.mean, A)
        torch.testing.assert_close(block.values_of_u().rows(set_), values, rtol=1e-10, atol=1e-12)
    assert names == ["equation", "low 0", "high 1 (1)", "high 1 (2)"]


def test_the_functions_of_a_problem_are_called_when_it_is_assembled_and_never_again():
    calls = []

    def slow(x):
        calls.append(len(x))
        return x[:, 0]

    u = solve.unknown(2)
    given = solve.Problem(solve.Box((0, 0), (1, 1)), slow * solve.laplacian(u) == slow)
    found = Collocation.of(given, lambda part: [(Points(given.domain.interior(30)), 1.0)])
    assert calls == [30, 30, 30]  # of either second derivative, and the right-hand side
    list(found.system(set_of_bumps()))
    for block in found.blocks:
        block.answers(set_of_bumps(), torch.ones(6, 1, dtype=F64))
        block.row_size(set_of_bumps())
    assert calls == [30, 30, 30]


def test_a_problem_is_assembled_anew_only_for_other_points():
    calls = []

    def right(x):
        calls.append(len(x))
        return x[:, 0]

    u = solve.unknown(2)
    assembly = Assembly(solve.Problem(solve.l_shape(), solve.laplacian(u) == right, {"boundary": u == 0}))
    plain = set_of_bumps()
    first = assembly.at(20, plain, held_out=False)
    assert assembly.at(20, set_of_bumps(), held_out=False) is first
    assert len(calls) == 1
    held_out = assembly.at(20, plain, held_out=True)
    assert not torch.equal(held_out.blocks[0].points.x, first.blocks[0].points.x)
    assert assembly.at(20, plain, held_out=True) is held_out
    assert assembly.at(20, plain, held_out=False) is first
    assert len(calls) == 2
    assert assembly.at(30, plain, held_out=False) is not first
    (corner,) = assembly.domain.corners
    ringed = plain._replace(rings=(Ring(corner, 0.3, 2),))
    parts = assembly.at(30, ringed, held_out=False).by_name()["equation"]
    assert [part.volume for part in parts] == [1.0, 1 / 4, 1 / 16, 1 / 64]
    assert len(assembly.at(30, plain, held_out=False).by_name()["equation"]) == 1


def test_the_system_has_every_row_in_terms_of_the_size_of_its_block():
    collocation, set_ = assembled(), set_of_bumps()
    systems = list(collocation.system(set_))
    assert len(systems) == len(collocation.blocks)
    for block, (matrix, target, weight) in zip(collocation.blocks, systems):
        torch.testing.assert_close(matrix, by_reference(block, set_), rtol=1e-10, atol=1e-11)
        assert torch.equal(target, block.target)
        mean_square = float(matrix.square().sum(1).mean())  # of all rows: there are few
        torch.testing.assert_close(weight, torch.full((40,), block.weight(mean_square), dtype=F64))
        assert block.importance == (1.0 if block.name == "equation" else CONDITION)
        assert block.weight(mean_square) == block.importance**2 / mean_square


def test_blocks_are_split_and_sampled():
    set_ = set_of_bumps(3)
    (block, *_) = assembled(1000).blocks
    parts = list(block.split(BLOCK // 300))
    assert [len(part.target) for part in parts] == [300, 300, 300, 100]
    assert torch.equal(torch.cat([part.rows(set_) for part in parts]), block.rows(set_))
    some = block.rows(set_)[:: 1000 // SAMPLED]
    assert block.row_size(set_) == pytest.approx(float(some.square().sum(1).mean().sqrt()))
    nothing = Bumps(torch.full((1, 2), 1e9, dtype=F64), torch.ones(1, 2, dtype=F64))
    assert block.row_size(nothing) == 1.0


def test_blocks_of_one_name_belong_together():
    by_name = assembled(volumes=(1.0, 0.5)).by_name()
    assert list(by_name) == ["equation", "low 0", "high 1 (1)", "high 1 (2)"]
    assert all([block.volume for block in blocks] == [1.0, 0.5] for blocks in by_name.values())
    assert all(isinstance(block, Block) for blocks in by_name.values() for block in blocks)
