"""Distances between models: of their tangent kernels, and of their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gmlayers._arguments import called, check_callable, check_inputs, check_module, got
from gmlayers._names import whole
from gmlayers._shown import brief


class KernelDrift(NamedTuple):
    """Two measures of how much a tangent kernel has changed; both are scalars, and 0 in the lazy limit."""

    change: Tensor
    """Distance of the kernels relative to the norm of the first."""
    misalignment: Tensor
    """One minus the alignment of the centred kernels, from 0 to 1; blind to a common factor."""

    __repr__ = brief


@torch.no_grad()
def tangent_kernel(
    model: nn.Module,
    x: Tensor,
    *,
    parameters: Callable[[str], bool] | None = None,
    chunk_size: int = 64,
) -> Tensor:
    r"""Return the empirical neural tangent kernel of a model on a batch, summed over outputs.

    .. math:: \Theta(x, x') = \sum_c \bigl\langle \nabla_\theta h_c(x), \nabla_\theta h_c(x') \bigr\rangle

    (Jacot, Gabriel and Hongler, 2018). It is the trace over outputs of the kernel with matrix values: that one tends to
    a multiple of the identity as nets grow wide, the trace does not depend on the basis of the outputs, and its size is
    that of the batch. Like every tangent kernel it depends on how the function is parametrised.

    The model is called on rows one at a time under ``torch.vmap``, in the mode it is in: use ``model.eval()`` where
    there is dropout or batch normalisation. At most two blocks of gradients are held, 2 · ``chunk_size`` times the
    number of parameters; beyond one block the gradients are computed several times.

    Args:
        model: maps (n, ...) to (n, ...).
        x: inputs, (n, ...), at least one.
        parameters: which parameters to take the gradient in, by name as in ``named_parameters()``; by default all,
            whether they require gradients or not.
        chunk_size: rows of a block.

    Returns:
        (n, n), in the dtype of the parameters.

    Raises:
        ValueError: for an empty batch, a chunk size below 1, no parameters at all.
        TypeError: if the chunk size is not a whole number.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers.diagnostics import tangent_kernel
        >>> tangent_kernel(nn.Linear(2, 3, bias=False), torch.eye(2))
        tensor([[3., 0.],
                [0., 3.]])
    """
    check_module("tangent_kernel: model", model)
    check_inputs("tangent_kernel: x", x)
    check_callable("tangent_kernel: parameters", parameters, optional=True, takes=1)
    chunk_size = whole("tangent_kernel: chunk_size", chunk_size)
    if chunk_size < 1:
        raise ValueError(f"tangent_kernel: chunk_size must be at least 1, got {chunk_size}")
    known: dict[str, Tensor] = dict(model.named_parameters())
    chosen = {name: p for name, p in known.items() if parameters is None or _chosen(parameters, name)}
    if not chosen:
        raise ValueError(
            f"tangent_kernel: no parameter was chosen by parameters; the model has {', '.join(known) or 'none'}"
        )

    outputs = _answer("tangent_kernel", "the model", model, x[:1]).numel()

    def output(p: dict[str, Tensor], row: Tensor, c: int) -> Tensor:
        return functional_call(model, p, (row[None],)).flatten()[c]

    def gradients(p: dict[str, Tensor], rows: Tensor, c: int) -> dict[str, Tensor]:
        derivative = vmap(grad(output), in_dims=(None, 0, None))
        found = called("tangent_kernel", "the gradient of the model on x, row by row,", derivative, p, rows, c)
        assert isinstance(found, dict)
        return found

    blocks = x.split(chunk_size)
    first = next(iter(chosen.values()))
    kernel = first.new_zeros(len(x), len(x), dtype=torch.float64)
    tiles = [row.split(chunk_size, 1) for row in kernel.split(chunk_size)]
    for c in range(outputs):
        for i, rows in enumerate(blocks):
            here = gradients(chosen, rows, c)
            for j in range(i + 1):
                there = here if j == i else gradients(chosen, blocks[j], c)
                for name, p in chosen.items():
                    one, other = (g[name].reshape(-1, p.numel()).double() for g in (here, there))
                    tiles[i][j].add_(one @ other.T)
    lower = kernel.tril()
    return (lower + lower.tril(-1).T).to(first.dtype)


def kernel_drift(
    before: nn.Module,
    after: nn.Module,
    x: Tensor,
    *,
    parameters: Callable[[str], bool] | None = None,
    chunk_size: int = 64,
) -> KernelDrift:
    r"""Return how much the tangent kernel changed between two states of a model: how far training was from lazy.

    With the kernels Θ₀ and Θ of :func:`tangent_kernel` and their centred forms :math:`\bar\Theta = C\Theta C`,
    :math:`C = I - \mathbf 1\mathbf 1^\top/n`,

    .. math:: \mathrm{change} = \frac{\|\Theta - \Theta_0\|_F}{\|\Theta_0\|_F}, \qquad
        \mathrm{misalignment} = 1 - \frac{\langle\bar\Theta, \bar\Theta_0\rangle_F}
        {\|\bar\Theta\|_F\,\|\bar\Theta_0\|_F}.

    In lazy training (Chizat, Oyallon and Bach, 2019) the model moves as if it were linear in its parameters, and both
    are 0. The alignment is that of Cortes, Mohri and Rostamizadeh (2012), known as CKA; it sees only the shape of the
    kernel, the change sees its size as well.

    Args:
        before: a model; a copy, ``copy.deepcopy(model)``, if it is the start of the other.
        after: a model with the same parameter names.
        x: inputs, (n, ...), on which the kernels are compared; some tens to hundreds.
        parameters: what :func:`tangent_kernel` takes; leave out those that were frozen in training.
        chunk_size: what :func:`tangent_kernel` takes.

    Returns:
        Two scalars. The misalignment is NaN if a kernel is constant, as it is for a single input; the change is not
        finite if the first kernel is 0.

    Raises:
        ValueError: if the names of the parameters or the shapes of the outputs differ, and as :func:`tangent_kernel`.

    Example:
        >>> import copy, torch
        >>> from gmlayers import GMLayer
        >>> from gmlayers.diagnostics import kernel_drift
        >>> layer = GMLayer(4, 2, 3)
        >>> start = copy.deepcopy(layer)
        >>> with torch.no_grad():
        ...     _ = layer.output_mean.add_(1), layer.output_factor.add_(1)
        >>> x = torch.randn(8, 4)
        >>> bool(kernel_drift(start, layer, x).change > 0.1)
        True
        >>> float(kernel_drift(start, layer, x, parameters=lambda name: name.startswith("output_")).change)
        0.0
    """
    check_module("kernel_drift: before", before)
    check_module("kernel_drift: after", after)
    names = [{name for name, _ in model.named_parameters()} for model in (before, after)]
    if names[0] != names[1]:
        alone = [", ".join(sorted(one - other)) or "none" for one, other in (names, names[::-1])]
        raise ValueError(
            f"kernel_drift: the models before and after must have the same parameter names; only the first has: "
            f"{alone[0]}; only the second has: {alone[1]}"
        )
    check_inputs("kernel_drift: x", x)
    with torch.no_grad():
        both = {"before": before, "after": after}
        outputs = [tuple(_answer("kernel_drift", name, model, x[:1]).shape[1:]) for name, model in both.items()]
    if outputs[0] != outputs[1]:
        raise ValueError(
            f"kernel_drift: the models must have outputs of one shape for an input, got {outputs[0]} and {outputs[1]}"
        )
    kernels = [tangent_kernel(model, x, parameters=parameters, chunk_size=chunk_size) for model in (before, after)]
    (first, last), dtype = (k.double() for k in kernels), kernels[0].dtype
    change = (last - first).norm() / first.norm()
    unit = [_centred(kernel, torch.finfo(dtype).eps) for kernel in (first, last)]
    misalignment = (unit[0] - unit[1]).square().sum() / 2  # 1 - ⟨a, b⟩ of unit vectors, without its cancellation
    return KernelDrift(change.to(dtype), misalignment.to(dtype))


@torch.no_grad()
def function_distance(one: nn.Module, other: nn.Module, x: Tensor) -> Tensor:
    r"""Return the distance of two models as functions on data.

    .. math:: \Bigl( \frac1n \sum_i \|h(x_i) - h'(x_i)\|^2 \Bigr)^{1/2}

    the norm of the difference in L² of the data; the square is summed over outputs. The models are called in the mode
    they are in.

    Args:
        one: maps (n, ...) to (n, ...).
        other: the same.
        x: inputs, (n, ...), at least one.

    Returns:
        A scalar.

    Raises:
        ValueError: for an empty batch, or outputs of different shapes.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers.diagnostics import function_distance
        >>> function_distance(nn.Identity(), nn.Flatten(), torch.rand(5, 3))
        tensor(0.)
    """
    check_module("function_distance: one", one)
    check_module("function_distance: other", other)
    check_inputs("function_distance: x", x)
    h, g = _answer("function_distance", "one", one, x), _answer("function_distance", "other", other, x)
    if h.shape != g.shape:
        shapes = f"{tuple(h.shape)} and {tuple(g.shape)}"
        raise ValueError(f"function_distance: outputs of one and other must agree in shape, got {shapes}")
    squared = (h.double() - g.double()).square().reshape(len(x), -1).sum(1)
    return squared.mean().sqrt().to(h.dtype)


def _answer(function: str, name: str, model: nn.Module, x: Tensor) -> Tensor:
    """Return what a model gives, (n, ...)."""
    answer = called(function, f"{name} on x", model, x)
    if not isinstance(answer, Tensor) or answer.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"{function}: {name} must return a tensor ({len(x)}, ...) for x {tuple(x.shape)}, got {got(answer)}"
        )
    return answer


def _chosen(parameters: Callable[[str], bool], name: str) -> bool:
    return bool(called("tangent_kernel", "parameters", lambda: bool(parameters(name))))


def _centred(kernel: Tensor, eps: float) -> Tensor:
    """Return the centred kernel at norm 1, NaN where nothing but rounding is left of it."""
    centred = kernel - kernel.mean(0)
    centred = centred - centred.mean(1, keepdim=True)
    norm = centred.norm()
    return centred / torch.where(norm > len(kernel) * eps * kernel.norm(), norm, torch.nan)
