import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlayers import solve
from gmlayers.solve.engine.least_squares import Triangle

F64 = torch.float64


def problem(rows=60, columns=7, out=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=F64, generator=g), torch.randn(rows, out, dtype=F64, generator=g)


def wide_bumps(rows=400, columns=40):
    """Columns that are dependent to rounding: the condition is that of any fit with wide bumps."""
    x, centre = torch.linspace(-1, 1, rows, dtype=F64), torch.linspace(-1.2, 1.2, columns, dtype=F64)
    return torch.exp(-8 * (x[:, None] - centre).square()), torch.exp(torch.sin(math.pi * x))[:, None]


def exact(A, y):
    """The solution of the normal equations in rational numbers."""
    rows = [[Fraction(v) for v in row] for row in torch.cat([A, y], 1).tolist()]
    n = A.shape[1]
    system = [[sum(row[i] * row[j] for row in rows) for j in range(n + y.shape[1])] for i in range(n)]
    for i in range(n):
        system[i] = [v / system[i][i] for v in system[i]]
        for k in range(n):
            if k != i:
                factor = system[k][i]
                system[k] = [a - factor * b for a, b in zip(system[k], system[i])]
    return torch.tensor([[float(v) for v in row[n:]] for row in system], dtype=F64)


# --- the solution --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns", "out"), [(60, 7, 2), (7, 7, 1), (1, 1, 1), (500, 1, 3)])
def test_equals_numpy(rows, columns, out):
    A, y = problem(rows, columns, out)
    result = solve.least_squares([(A, y)])
    want, _, rank, _ = np.linalg.lstsq(A.numpy(), y.numpy(), rcond=None)
    torch.testing.assert_close(result.weight, torch.from_numpy(want), rtol=1e-10, atol=1e-11)
    left = y - A @ result.weight
    torch.testing.assert_close(result.residual, left.square().mean(0).sqrt(), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(result.relative, left.norm(dim=0) / y.norm(dim=0), rtol=1e-10, atol=1e-14)
    assert (result.rank, result.rows) == (rank, rows)
    assert result.max_weight == result.weight.abs().max()
    scaled = A / A.norm(dim=0)
    assert result.condition == pytest.approx(torch.linalg.cond(scaled).item(), rel=1e-9)
    assert result.regularisation == 0


def test_equals_the_exact_solution_at_a_condition_at_which_normal_equations_fail():
    """A polynomial of degree 11 in powers: cond(A) is 5e8, and cond(AᵀA) beyond double precision."""
    t = torch.linspace(0, 1, 30, dtype=F64)
    A, y = t[:, None] ** torch.arange(12), torch.exp(t)[:, None]
    want = exact(A, y)
    result = solve.least_squares([(A, y)])
    assert 1e7 < result.condition < 1e10
    assert (result.weight - want).norm() <= 10 * result.condition * 2.2e-16 * want.norm()
    normal = torch.linalg.solve(A.T @ A, A.T @ y)
    assert (normal - want).norm() > 1000 * (result.weight - want).norm()


def test_dependent_columns_to_rounding():
    """The residual is as small as by numpy's singular values of the whole matrix, and is what is reported."""
    A, y = wide_bumps()
    result = solve.least_squares([(A, y)])
    left = (A @ result.weight - y).norm().item()
    want = np.linalg.lstsq(A.numpy(), y.numpy(), rcond=1e-14)[0]
    assert left <= 3 * np.linalg.norm(A.numpy() @ want - y.numpy())
    assert left <= 1e-7 * y.norm()
    assert result.residual.item() * math.sqrt(len(A)) == pytest.approx(left, rel=0.05)
    assert result.rank < 40
    assert result.condition > 1e14


@pytest.mark.parametrize(
    ("rows", "size"), [(8, 1), (300, 1), (300, 7), (300, 1000), (20_000, 50), (20_000, 4095), (20_000, 4097)]
)
def test_streaming_equals_at_once(rows, size):
    A, y = problem(rows, 7, 2)
    A[:, 0] *= 1e-6
    once, streamed = solve.least_squares([(A, y)]), solve.least_squares(zip(A.split(size), y.split(size)))
    torch.testing.assert_close(streamed.weight, once.weight, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(streamed.residual, once.residual, rtol=1e-12, atol=0)
    assert (streamed.rows, streamed.rank) == (once.rows, once.rank)


def test_the_memory_does_not_grow_with_the_rows():
    triangle = Triangle()
    for seed in range(30):
        triangle.add(solve.Rows(*problem(2000, 5, 1, seed)))
        assert sum(map(len, triangle._buffer)) <= 4096
    assert triangle.rows == 60_000


def test_streaming_of_dependent_columns():
    A, y = wide_bumps(20_000)
    once, streamed = solve.least_squares([(A, y)]), solve.least_squares(zip(A.split(999), y.split(999)))
    lefts = [(A @ result.weight - y).norm().item() for result in (once, streamed)]
    assert max(lefts) <= 2 * min(lefts)
    assert max(lefts) <= 1e-7 * y.norm()


# --- laws ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 10), st.floats(-8, 8))
@settings(max_examples=60)
def test_what_is_left_is_orthogonal_to_the_columns(seed, rows, columns, size):
    A, y = problem(rows, columns, 2, seed)
    A = A * 10 ** (size * torch.linspace(-1, 1, columns, dtype=F64))
    g = torch.Generator().manual_seed(seed)
    weight = torch.rand(rows, dtype=F64, generator=g)
    result = solve.least_squares([(A, y, weight)])
    unit = A / A.norm(dim=0)
    assert (unit.T @ (weight[:, None] * (y - A @ result.weight))).abs().max() <= 1e-9 * y.norm()


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(-30, 30), min_size=5, max_size=5),
    st.integers(-30, 30),
    st.sampled_from([0.0, 0.3, "gcv"]),
)
@settings(max_examples=60)
def test_other_units_of_columns_and_targets(seed, powers, power, regularisation):
    """Equivariance, with dependent columns and with regularisation; powers of 2 are exact."""
    A, y = problem(40, 5, 2, seed)
    A[:, 4] = A[:, 0] + A[:, 1]
    unit = 2.0 ** torch.tensor(powers, dtype=F64)
    one = solve.least_squares([(A, y)], regularisation=regularisation)
    other = solve.least_squares([(A * unit, y * 2.0**power)], regularisation=regularisation)
    torch.testing.assert_close(other.weight * unit[:, None] / 2.0**power, one.weight, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(other.relative, one.relative, rtol=1e-11, atol=0)
    assert (other.rank, other.regularisation) == (one.rank, pytest.approx(one.regularisation, rel=1e-9))


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_row_weights_are_repetitions(seed):
    A, y = problem(20, 4, 2, seed)
    counts = torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(seed))
    weighted = solve.least_squares([(A, y, counts.double())])
    repeated = solve.least_squares([(A.repeat_interleave(counts, 0), y.repeat_interleave(counts, 0))])
    torch.testing.assert_close(weighted.weight, repeated.weight, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(weighted.residual, repeated.residual, rtol=1e-9, atol=1e-12)
    assert weighted.rows == int((counts > 0).sum())


# --- rank ----------------------------------------------------------------------------------------------------


def test_a_column_given_twice_is_shared():
    A, y = problem(30, 3, 1)
    single = solve.least_squares([(A, y)])
    double = solve.least_squares([(torch.cat([A, 1000 * A[:, :1]], 1), y)])
    assert (single.rank, double.rank) == (3, 3)
    assert double.condition > 1e14
    torch.testing.assert_close(double.weight[0], single.weight[0] / 2, rtol=1e-9, atol=0)
    torch.testing.assert_close(double.weight[3], single.weight[0] / 2000, rtol=1e-9, atol=0)
    torch.testing.assert_close(double.residual, single.residual)


def test_points_given_twice_change_nothing():
    A, y = problem(30, 3, 1)
    torch.testing.assert_close(
        solve.least_squares([(A, y), (A, y)]).weight, solve.least_squares([(A, y)]).weight, rtol=1e-11, atol=1e-13
    )


def test_fewer_rows_than_columns():
    A, y = problem(4, 9, 2)
    result = solve.least_squares([(A, y)])
    torch.testing.assert_close(A @ result.weight, y, rtol=1e-11, atol=1e-12)
    assert result.rank == 4
    assert result.condition == math.inf
    scale = A.norm(dim=0)[:, None]
    shortest = torch.linalg.pinv(A / scale.T) @ y / scale
    torch.testing.assert_close(result.weight, shortest, rtol=1e-10, atol=1e-12)


def test_a_column_of_zeros_gets_no_weight():
    A, y = problem(30, 3, 1)
    A[:, 1] = 0
    result = solve.least_squares([(A, y)])
    assert result.weight[1].item() == 0
    assert (result.rank, result.condition) == (2, math.inf)


def test_rows_of_zeros():
    result = solve.least_squares([(torch.zeros(5, 3), torch.tensor([[0.0, 3.0]]).expand(5, 2))])
    assert (result.weight == 0).all()
    assert (result.rank, result.condition, result.max_weight) == (0, math.inf, 0)
    assert result.residual.tolist() == [0, 3]
    assert result.relative.tolist() == [0, 1]


@pytest.mark.parametrize("tolerance", [1e-12, 1e-6, 1e-2])
def test_rank_tolerance(tolerance):
    A, y = wide_bumps()
    result = solve.least_squares([(A, y)], rank_tolerance=tolerance)
    sigma = torch.linalg.svdvals(A / A.norm(dim=0))
    assert result.rank == int((sigma > tolerance * sigma[0]).sum())


def test_extreme_sizes(dtype):
    A, y = problem(30, 3, 1)
    huge = (A * torch.tensor([1e-30, 1.0, 1e30], dtype=F64)).to(dtype), (1e-20 * y).to(dtype)
    result = solve.least_squares([huge])
    assert result.rank == 3
    assert result.weight.dtype == F64
    torch.testing.assert_close(result.relative, solve.least_squares([(A, y)]).relative, rtol=1e-5, atol=0)


# --- regularisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [1e-3, 0.5, 20.0])
def test_given_regularisation_is_the_formula(lam):
    A, y = problem()
    A[:, 2] *= 100
    penalty = torch.diag(lam * A.norm(dim=0))
    want = torch.linalg.lstsq(torch.cat([A, penalty]), torch.cat([y, y.new_zeros(7, 2)])).solution
    result = solve.least_squares([(A, y)], regularisation=lam)
    torch.testing.assert_close(result.weight, want, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.residual, (y - A @ want).square().mean(0).sqrt(), rtol=1e-10, atol=0)
    assert result.regularisation == lam


def score(A, y, lam):
    """Generalised cross-validation by its definition, through the hat matrix."""
    n = len(A)
    penalty = torch.diag((lam * A.norm(dim=0)).square())
    left = torch.eye(n, dtype=F64) - A @ torch.linalg.solve(A.T @ A + penalty, A.T)
    return (sum((left @ y[:, o]).square().sum() for o in range(y.shape[1])) * n / left.trace() ** 2).item()


@pytest.mark.parametrize(("rows", "noise"), [(40, 0.3), (40, 3.0), (12, 0.3), (9, 1.0)])
def test_cross_validation_is_least_by_its_definition(rows, noise):
    A, error = problem(rows, 8, 2)
    A = A @ torch.diag(torch.logspace(0, -2, 8, dtype=F64)) @ problem(8, 8)[0]
    y = A @ torch.ones(8, 2, dtype=F64) + noise * error
    result = solve.least_squares([(A, y)], regularisation="gcv")
    best = min(score(A, y, lam) for lam in [0.0, *np.logspace(-6, 2, 400)])
    assert score(A, y, result.regularisation) <= best * (1 + 1e-3)
    again = solve.least_squares([(A, y)], regularisation=result.regularisation)
    assert torch.equal(again.weight, result.weight)


def test_cross_validation_over_blocks_and_weights():
    A, y = problem(50, 8, 1)
    weight = torch.rand(50, dtype=F64)
    streamed = solve.least_squares(zip(A.split(7), y.split(7), weight.split(7)), regularisation="gcv")
    root = weight.sqrt()[:, None]
    once = solve.least_squares([(root * A, root * y)], regularisation="gcv")
    assert streamed.regularisation == pytest.approx(once.regularisation, rel=1e-9)


def test_cross_validation_leaves_out_noise():
    A, _ = wide_bumps(60, 40)
    x = torch.linspace(-1, 1, 60, dtype=F64)
    truth = torch.exp(torch.sin(math.pi * x))[:, None]
    errors = {}
    for regularisation in (0.0, "gcv"):
        total = 0.0
        for seed in range(10):
            y = truth + 0.1 * problem(60, 1, 1, seed)[1]
            result = solve.least_squares([(A, y)], regularisation=regularisation)
            total += (A @ result.weight - truth).square().mean().item()
        errors[regularisation] = total / 10
    assert errors["gcv"] < errors[0.0] / 2


@pytest.mark.parametrize("rows", [1, 5])
def test_cross_validation_with_fewer_rows_than_columns(rows):
    A, y = problem(rows, 9, 1)
    result = solve.least_squares([(A, y)], regularisation="gcv")
    assert result.weight.isfinite().all()
    assert result.regularisation > 0


# --- float32 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [5, 20, 40])
def test_float32_error_is_that_of_rounded_numbers(columns):
    A, y = wide_bumps(400, columns)
    result = solve.least_squares([(A, y)])
    rounded = (A.float() * result.weight.float().T).double().sum(1)
    error = (rounded - (A @ result.weight)[:, 0]).square().mean().sqrt().item()
    assert result.float32_error.item() / 3 < error < 3 * result.float32_error.item()


def test_float32_tolerance():
    A, y = wide_bumps()
    result = solve.least_squares([(A, y)])
    lost = result.max_weight * torch.finfo(torch.float32).eps
    solve.least_squares([(A, y)], float32_tolerance=1.01 * lost)
    with pytest.warns(
        UserWarning, match="least_squares: .* off by .*, with weights as large as .*; stay in float64"
    ) as caught:
        solve.least_squares([(A, y)], float32_tolerance=0.99 * lost)
    assert caught[0].filename == __file__


# --- errors --------------------------------------------------------------------------------------------------

A, Y = torch.ones(3, 2), torch.ones(3, 1)


@pytest.mark.parametrize(
    ("blocks", "options", "message"),
    [
        ([], {}, "there are no rows"),
        ([(A[:0], Y[:0])], {}, "there are no rows"),
        ([(A, Y, torch.zeros(3))], {}, "or all have weight 0"),
        ([(A, Y[:2])], {}, r"block 0 must be a matrix .* got \[\(3, 2\), \(2, 1\)\]"),
        ([(A, Y[..., None])], {}, r"target \(n, out\), got \[\(3, 2\), \(3, 1, 1\)\]"),
        ([(A[:, :0], Y)], {}, r"got \[\(3, 0\), \(3, 1\)\]"),
        ([(A, Y[:, :0])], {}, r"got \[\(3, 2\), \(3, 0\)\]; there must be a column"),
        ([(A, Y), (A[:, :1], Y)], {}, "must have 2 columns and 1 outputs as the first has, block 1 is"),
        ([(A, Y), (math.nan * A, Y)], {}, "the matrix of block 1 has numbers that are not finite"),
        ([(A, math.inf * Y)], {}, "the target of block 0 has numbers that are not finite"),
        ([(A, Y, torch.full((3,), math.nan))], {}, "the weight of block 0 has numbers that are not finite"),
        ([(A, Y, -torch.ones(3))], {}, r"the weight of block 0 must be \(3,\) and not negative, got \(3,\) with -1 in"),
        ([(A, Y, torch.ones(2))], {}, r"the weight of block 0 must be \(3,\) and not negative, got \(2,\)$"),
        ([(A, Y)], {"rank_tolerance": -1.0}, "rank_tolerance must be from 0 to below 1, got -1.0"),
        ([(A, Y)], {"rank_tolerance": 1.0}, "rank_tolerance must be from 0 to below 1, got 1.0"),
        ([(1e300 * A.double(), Y, 1e20 * torch.ones(3))], {}, "the numbers times their weights are not finite"),
        ([(A, Y)], {"float32_tolerance": math.nan}, "float32_tolerance must not be negative, got nan"),
        ([(A, Y)], {"regularisation": -1.0}, "regularisation must be finite and not negative, got -1.0"),
        ([(A, Y)], {"regularisation": math.inf}, "finite and not negative, got inf"),
        ([(A, Y)], {"regularisation": "GCV"}, "regularisation must be a number or 'gcv', got 'GCV'"),
    ],
)
def test_bad_values(blocks, options, message):
    with pytest.raises(ValueError, match="least_squares: .*" + message):
        solve.least_squares(blocks, **options)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((A, Y), r"block 0 must be a tuple .*, got a tensor .*; give \[\(A, y\)\]"),
        ([(A,)], "block 0 must be a tuple"),
        ([(A.cfloat(), Y)], "matrix of block 0 must be .* floating-point or whole numbers, got .* torch.complex64"),
        ([(A, ["a", "b", "c"])], r"the target of block 0\[0\] must be .* numbers, got 'a'"),
    ],
)
def test_bad_types(blocks, message):
    with pytest.raises(TypeError, match="least_squares: .*" + message):
        solve.least_squares(blocks)


@pytest.mark.parametrize("option", ["rank_tolerance", "regularisation", "float32_tolerance"])
def test_options_that_are_no_numbers(option):
    with pytest.raises(TypeError, match=rf"least_squares: {option} must be a number, got list"):
        solve.least_squares([(A, Y)], **{option: [1]})


def test_a_block_without_rows_is_nothing():
    A, y = problem(9, 2, 1)
    result = solve.least_squares([(A[:0], y[:0]), (A, y)])
    torch.testing.assert_close(result.weight, solve.least_squares([(A, y)]).weight)
