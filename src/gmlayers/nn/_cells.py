"""Recurrent cells in which a mixture is the candidate: what an LSTM or a GRU may take in at a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers._arguments import check_device, check_dtype, check_generator, is_dense, no_tensor
from gmlayers._names import brief_value, check_size, flag, positive
from gmlayers.functional import Activation
from gmlayers.nn._drawing import draws
from gmlayers.nn._feed_forward import GMFeedForward, GMNMFeedForward
from gmlayers.nn._precision import check_place

State = tuple[Tensor, ...]
"""A state is h, and c if the cell has one."""

Block = GMFeedForward | GMNMFeedForward


class Cell(nn.Module):
    """What all cells share: the gates, a block that makes the candidate, and checks."""

    _name: ClassVar[str]
    _gates: ClassVar[int]
    _states: ClassVar[int]

    bias: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        block: Callable[[int, int], Block],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        check_dtype(f"{self._name}: dtype", dtype)
        check_device(f"{self._name}: device", device)
        self.input_size = positive(f"{self._name}: input_size", input_size)
        self.hidden_size = positive(f"{self._name}: hidden_size", hidden_size)
        self.has_bias = flag(f"{self._name}: bias", bias)
        rows, size = self._gates * self.hidden_size, self.input_size + self.hidden_size
        check_size(f"{self._name}: input_size, hidden_size", [(rows, size)])
        self.weight = nn.Parameter(torch.empty(rows, size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(rows, device=device, dtype=dtype)) if self.has_bias else None
        self.candidate = block(size, self.hidden_size)
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        r"""Draw the gates from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})` as torch does, and the candidate as a block is drawn.

        The weights of the candidate to its output start from :math:`N(0, 1/K)`, where the block starts at 0: nothing
        would come in through a candidate that is 0.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator(f"{self._name}.reset_parameters: generator", generator, self.weight.device)
        reach = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            parameter.uniform_(-reach, reach, generator=generator)
        self.candidate.reset_parameters(generator)
        for parameter in self.candidate.output_weights():
            parameter.normal_(0, 1 / math.sqrt(self.candidate.num_components), generator=generator)

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after a token, (batch, hidden_size) each, for rows (batch, input_size)."""
        raise NotImplementedError

    def start(self, x: Tensor) -> State:
        """Return the state that is 0, for rows like these."""
        return (x.new_zeros(x.shape[0], self.hidden_size),) * self._states

    def _taken(self, x: Tensor, hx: object) -> tuple[bool, Tensor, State]:
        """Return whether there is a batch axis, and the rows and their state with one."""
        if not is_dense(x):
            raise no_tensor(f"{self._name}: the input x", x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{self._name}: expected an input of shape (batch, {self.input_size}) or ({self.input_size},), got "
                f"{tuple(x.shape)}"
            )
        check_place(self._name, x, self.weight)
        batched = x.ndim == 2
        x = x if batched else x.unsqueeze(0)
        if hx is None:
            return batched, x, self.start(x)
        state = checked_state(self._name, hx, self._states, (*([x.shape[0]] if batched else []), self.hidden_size), x)
        return batched, x, state if batched else tuple(part.unsqueeze(0) for part in state)

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.has_bias}"


class _LSTMCell(Cell):
    _gates, _states = 3, 2

    def step(self, x: Tensor, state: State) -> State:
        """Return h and c after a token."""
        h, c = state
        both = torch.cat([x, h], -1)
        into, forget, out = torch.sigmoid(F.linear(both, self.weight, self.bias)).to(c.dtype).chunk(3, -1)
        c = torch.addcmul(forget * c, into, self.candidate(both).to(c.dtype))
        return out * torch.tanh(c), c

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return h and c after a token, as ``nn.LSTMCell`` does.

        Args:
            input: (batch, input_size) or (input_size,).
            hx: h and c before it, (batch, hidden_size) or (hidden_size,) each; 0 by default.
        """
        batched, x, state = self._taken(input, hx)
        h, c = self.step(x, state)
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))


class _GRUCell(Cell):
    _gates, _states = 2, 1

    def step(self, x: Tensor, state: State) -> State:
        """Return h after a token."""
        (h,) = state
        gates = F.linear(torch.cat([x, h], -1), self.weight, self.bias)
        reset, keep = torch.sigmoid(gates).to(h.dtype).chunk(2, -1)
        new = self.candidate(torch.cat([x, reset * h], -1)).to(h.dtype)
        return (torch.lerp(new, h, keep),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h after a token, as ``nn.GRUCell`` does.

        Args:
            input: (batch, input_size) or (input_size,).
            hx: h before it, (batch, hidden_size) or (hidden_size,); 0 by default.
        """
        batched, x, state = self._taken(input, None if hx is None else (hx,))
        (h,) = self.step(x, state)
        return h if batched else h.squeeze(0)


class GMLSTMCell(_LSTMCell):
    r"""An LSTM cell whose candidate, what may come in at a step, is a sum of Gaussian neurons.

    .. math::

        (i, f, o) = \operatorname{sigmoid}(W (x, h) + b), \quad c' = f \odot c + i \odot g, \quad h' = o \odot \tanh c'
        \\
        g = \sum_k \mathbb E f(z_k)\,\omega_k + \mathbb E f'(z_k)\, a_k\, C_k \quad\text{of } (x, h)

    Args:
        input_size: size of an input.
        hidden_size: size H of the state.
        bias: whether gates and candidate have biases.
        num_components: K of the candidate; by default as many as make the parameters of torch's cell.
        activation: f. The default is bounded, and cheap: its expectation is a single normal distribution function.
        rank: as in :class:`~gmlayers.GMFeedForward`, and so are the next three.
        level: whether there are levels.
        gate: whether there are gates.
        spread: whether the neurons vary.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (batch, input_size) or (input_size,).
        - output: h and c, (batch, hidden_size) or (hidden_size,).

    The parameters are ``weight`` (gates · hidden_size, input_size + hidden_size) and ``bias`` of the gates, in the
    order above, and those of ``candidate``, a :class:`~gmlayers.GMFeedForward`.

    Raises:
        ValueError: sizes below 1, a wrong input or state.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers.nn import GMLSTMCell
        >>> h, c = GMLSTMCell(16, 32)(torch.randn(8, 16))
        >>> h.shape, c.shape
        (torch.Size([8, 32]), torch.Size([8, 32]))
    """

    _name = "GMLSTMCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        num_components: int | None = None,
        activation: str | Activation = "erf",
        rank: int = 1,
        level: bool = True,
        gate: bool = True,
        spread: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        def block(size: int, out: int) -> Block:
            return GMFeedForward(
                *(size, None if num_components is not None else _width(size, out), out),
                activation=activation,
                rank=rank,
                level=level,
                gate=gate,
                spread=spread,
                bias=bias,
                num_components=num_components,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, bias, block, device, dtype)


class GMNMLSTMCell(_LSTMCell):
    r"""An LSTM cell whose candidate, what may come in at a step, is a sum of Gaussian bumps.

    .. math::

        (i, f, o) = \operatorname{sigmoid}(W (x, h) + b), \quad c' = f \odot c + i \odot g, \quad h' = o \odot \tanh c'
        \\
        g = \sum_k \pi_k \exp\bigl(-\tfrac12 \|P_k (x, h) - t_k\|^2\bigr)

    Args:
        input_size: size of an input.
        hidden_size: size H of the state.
        bias: whether gates and candidate have biases.
        num_components: number K of bumps; by default as many as make the parameters of torch's cell.
        rank: projections of a bump.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - input: (batch, input_size) or (input_size,).
        - output: h and c, (batch, hidden_size) or (hidden_size,).

    The parameters are ``weight`` (gates · hidden_size, input_size + hidden_size) and ``bias`` of the gates, in the
    order above, and those of ``candidate``, a :class:`~gmlayers.GMNMFeedForward`.

    Raises:
        ValueError: sizes below 1, a wrong input or state.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers.nn import GMNMLSTMCell
        >>> h, c = GMNMLSTMCell(16, 32)(torch.randn(8, 16))
        >>> h.shape, c.shape
        (torch.Size([8, 32]), torch.Size([8, 32]))
    """

    _name = "GMNMLSTMCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        num_components: int | None = None,
        rank: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        def block(size: int, out: int) -> Block:
            return GMNMFeedForward(
                *(size, None if num_components is not None else _width(size, out), out),
                rank=rank,
                bias=bias,
                num_components=num_components,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, bias, block, device, dtype)


class GMNMGRUCell(_GRUCell):
    r"""A GRU cell whose candidate, what may come in at a step, is a sum of Gaussian bumps.

    .. math::

        h' = u \odot h + (1 - u) \odot n, \qquad (r, u) = \operatorname{sigmoid}(W (x, h) + b)
        \\
        n = \sum_k \pi_k \exp\bigl(-\tfrac12 \|P_k (x, r \odot h) - t_k\|^2\bigr)

    The reset gate acts on h before the candidate reads it, as in the first GRU (Cho et al., 2014); in torch's it acts
    on what is read.

    The arguments are those of :class:`GMNMLSTMCell`.

    Shape:
        - input: (batch, input_size) or (input_size,).
        - output: h, (batch, hidden_size) or (hidden_size,).

    The parameters are ``weight`` (gates · hidden_size, input_size + hidden_size) and ``bias`` of the gates, in the
    order above, and those of ``candidate``, a :class:`~gmlayers.GMNMFeedForward`.

    Raises:
        ValueError: sizes below 1, a wrong input or state.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers.nn import GMNMGRUCell
        >>> GMNMGRUCell(16, 32)(torch.randn(8, 16)).shape
        torch.Size([8, 32])
    """

    _name = "GMNMGRUCell"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        num_components: int | None = None,
        rank: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        def block(size: int, out: int) -> Block:
            return GMNMFeedForward(
                *(size, None if num_components is not None else _width(size, out), out),
                rank=rank,
                bias=bias,
                num_components=num_components,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, bias, block, device, dtype)


def checked_state(name: str, hx: object, states: int, shape: tuple[int, ...], like: Tensor) -> State:
    """Return a state, or raise for one that has not so many tensors of this shape."""
    what = "h and c" if states == 2 else "h"
    if not isinstance(hx, (tuple, list)) or len(hx) != states:
        raise TypeError(f"{name}: hx must be {what}, got {brief_value(hx)}")
    for part in hx:
        if not is_dense(part):
            raise no_tensor(f"{name}: hx", part)
        if part.shape != shape:
            raise ValueError(f"{name}: expected hx of shape {shape}, got {tuple(part.shape)}")
        check_place(f"{name}: hx", part, like)
    return tuple(hx)


def _width(inputs: int, outputs: int) -> int:
    """Return the width of an MLP that has as many parameters as a linear candidate, which torch's cells have."""
    return max(1, round(inputs * outputs / (inputs + outputs)))
