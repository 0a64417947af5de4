"""Variable projection: the shapes of bumps trained on data, with their weights always at the best values."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from gmlayers._arrays import Array
from gmlayers.nn import GMNM
from gmlayers.solve._checks import check_not_negative, warn_of_float32
from gmlayers.solve._renamed import solver
from gmlayers.solve.engine.history import Iteration
from gmlayers.solve.engine.least_squares import RANK_TOLERANCE
from gmlayers.solve.engine.levenberg_marquardt import Limits
from gmlayers.solve.engine.modules import check_trained, data_for, float32_allowed, warn_of_range
from gmlayers.solve.engine.results import VariableProjection
from gmlayers.solve.engine.separable import Separable
from gmlayers.solve.engine.units import root_mean_square


@solver(weight="row_weight", tolerance="least_reduction")
def variable_projection(
    module: GMNM,
    x: Tensor | Array,
    y: Tensor | Array,
    *,
    row_weight: Tensor | Array | None = None,
    iterations: int = 100,
    least_reduction: float = 1e-6,
    regularisation: float | None = None,
    rank_tolerance: float = RANK_TOLERANCE,
    max_seconds: float = math.inf,
    float32_tolerance: float | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> VariableProjection:
    r"""Train the bumps of a module on data by Levenberg–Marquardt, the weights solved for at every step.

    .. math:: \min_\theta\;\min_w\; \sum_i \omega_i \|y_i - w^\top \phi(x_i; \theta)\|^2
        + \lambda^2 \sum_i \omega_i\, \|w\|^2

    The derivative is exact, by the formula of Golub and Pereyra (1973). Weights and steps come from orthogonal
    factorisations, no normal equations are formed, so it goes on to where double precision ends. All is computed in
    float64, whatever the dtype of the module, in which the result is then written. Damping is that of Nielsen (1999),
    with the scaling of Moré (1978); steps are bent along the curved valleys of such problems, by the geodesic
    acceleration of Transtrum and Sethna (2012).

    Without λ bumps drift to where only their difference counts, with huge weights of opposite sign; with too large a λ
    the error stops falling early. So if it is not given, it follows what is left: within a factor of 2 it is

    .. math:: \lambda = \max\Big(c\,\frac{\varrho}{s}, \frac{\varepsilon}{10}\Big), \qquad
        \varrho^2 = \frac{\sum_i \omega_i \|r_i\|^2}{\sum_i \omega_i}, \qquad
        s^2 = \frac{\sum_i \omega_i \|y_i - \bar y\|^2}{\sum_i \omega_i}, \qquad c = 10^{-3},

    with r what is left, :math:`\bar y` the weighted mean of the targets, 0 if there is no bias, and ε the rounding of
    the module's dtype. Where λ is exactly the first, stationary points are those of
    :math:`\log\varrho^2 + c^2 \|w\|^2 / s^2`, too: weights a thousand times as large as the targets cost as much as a
    residual that is :math:`\sqrt e` times as large, however small it is. Where it is the second,
    :math:`\lambda^2 \|w\|^2` is about what rounded weights add to the mean square.

    An iteration takes about :math:`2 n P^2` operations and memory for several times :math:`n P` numbers, where n is the
    number of targets, rows times outputs, and P that of the parameters of ``mean`` and the form.

    Args:
        module: the start is its ``mean`` and its form; its weights do not matter. All are written. The bumps have to
            cover the data, as ``domain`` and :meth:`~gmlayers.GMNM.from_data` make them do: one that no point sees
            stays where it is.
        x: inputs, (n, in_features): a tensor of any dtype, an array of numpy or pandas, or a list of rows.
        y: targets, (n, out_features), or (n,) for one output.
        row_weight: ω, how much each row counts, (n,), not negative; all alike if not given.
        iterations: the largest number of iterations, at least 1; each is a step that gains something.
        least_reduction: the run ends when a step reduces the sum of squares by less than this share, at least 0.
        regularisation: λ, by which weights that cancel are held to about the size of what is left over λ; the bias is
            free. By default it follows what is left, as above: the targets say what a small residual is.
        rank_tolerance: singular values of the columns below this times the largest are taken for 0.
        max_seconds: no iteration is begun that is expected to end later; of the first that is not known.
        float32_tolerance: warn if the module in float32 loses more. By default 10⁻³ of the root mean square of the
            targets for modules of less than float64, and infinity, for no warning, for others.
        callback: this is called with the start and every iteration, when it is written in the module, if its dtype can
            hold the weights; ``print`` shows them. If it raises, or the run is interrupted, the last one stays,
            and the exception has its result as its attribute ``best_so_far``, with the reason "interrupted".

    Returns:
        Why the run ended, the residual after each iteration, and what is to be known of the weights. (They are the best
        ones under λ; :func:`~gmlayers.solve.fit` would put others in their place, without it.)

    Raises:
        ValueError: if shapes are not those of the module, numbers are not finite, options are out of range, or a
            parameter is frozen (``requires_grad`` is False): all are written.
        TypeError: if the module is of another kind, data are no real numbers, or options are no numbers.
        RuntimeError: if a parameter is parametrized; what is written here would be computed away.

    Warns:
        UserWarning: if inputs are out of the range of the module, and if float32 loses more than is allowed.
        FutureWarning: if an option is given by its old name: ``weight`` for the row weights, ``tolerance`` for
            ``least_reduction``.

    Example:
        >>> import torch
        >>> from gmlayers import GMNM, solve
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
        >>> module = GMNM(1, 1, 8, domain=(-1, 1), dtype=torch.float64)
        >>> result = solve.variable_projection(module, x, torch.sin(6 * x))
        >>> result.error < 1e-4
        True
    """
    x, y, row_weight = data_for("variable_projection", module, x, y, row_weight)
    check_trained("variable_projection", module)
    warn_of_range("variable_projection", module, x, row_weight)
    if regularisation is not None:
        check_not_negative("variable_projection: regularisation", regularisation)
    limits = Limits.of(
        "variable_projection", iterations, least_reduction, rank_tolerance, max_seconds, float32_tolerance, callback
    )
    problem = Separable.of_data(module, x, y, row_weight, regularisation, rank_tolerance)
    result = problem.descend("variable_projection", limits)
    size = problem.unit * float(problem.target.norm()) / math.sqrt(problem.mass * module.out_features)
    allowed = float32_allowed(module, size, float32_tolerance)
    lost = float(root_mean_square(result.float32_error))
    warn_of_float32("variable_projection", "the module", result.max_weight, lost, allowed)
    return result
