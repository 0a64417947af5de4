"""Recurrent nets whose candidates are mixtures, with the signatures of torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gmlayers._arguments import is_dense, no_tensor, share
from gmlayers._names import flag, positive
from gmlayers.functional import Activation
from gmlayers.nn._cells import Cell, GMLSTMCell, GMNMGRUCell, GMNMLSTMCell, State, checked_state
from gmlayers.nn._precision import check_place


class _Recurrent(nn.Module):
    """Layers of cells over sequences."""

    _name: ClassVar[str]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        cell: Callable[[int], Cell],
    ) -> None:
        super().__init__()
        self.num_layers = positive(f"{self._name}: num_layers", num_layers)
        self.batch_first = flag(f"{self._name}: batch_first", batch_first)
        self.dropout = share(f"{self._name}: dropout", dropout)
        self.bidirectional = flag(f"{self._name}: bidirectional", bidirectional)
        self.input_size = positive(f"{self._name}: input_size", input_size)
        self.hidden_size = positive(f"{self._name}: hidden_size", hidden_size)
        self.bias = flag(f"{self._name}: bias", bias)
        ways = 1 + self.bidirectional
        sizes = [input_size] + [hidden_size * ways] * (self.num_layers - 1)
        self.cells = nn.ModuleList(cell(size) for size in sizes for _ in range(ways))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters of all cells anew.

        Args:
            generator: source of randomness; torch's global one by default.
        """
        for cell in self._cells:
            cell.reset_parameters(generator)

    def _run(self, input: Tensor | PackedSequence, hx: object) -> tuple[Tensor | PackedSequence, State]:
        """Return what the last layer says of every token, and the states at the ends."""
        packed = input if isinstance(input, PackedSequence) else None
        x, lengths, batched = self._sequences(input)
        states = self._states(hx, x, batched)
        found: list[State] = []
        ways = 1 + self.bidirectional
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for way in range(ways):
                place = layer * ways + way
                y, state = _read(self._cells[place], x, states[place], lengths, backwards=bool(way))
                outputs.append(y)
                found.append(state)
            x = torch.cat(outputs, -1) if ways > 1 else outputs[0]
        ends = tuple(torch.stack(parts) for parts in zip(*found))
        if packed is not None:
            return _packed(x, packed), ends
        if not batched:
            return x.squeeze(1), tuple(part.squeeze(1) for part in ends)
        return x.transpose(0, 1) if self.batch_first else x, ends

    def _sequences(self, given: Tensor | PackedSequence) -> tuple[Tensor, Tensor | None, bool]:
        """Return (tokens, batch, size), lengths where they differ, and whether there was a batch axis."""
        like = self._cells[0].weight
        lengths = None
        if isinstance(given, PackedSequence):
            given, lengths = pad_packed_sequence(given)
            lengths = lengths.to(given.device)
        elif not is_dense(given):
            raise no_tensor(f"{self._name}: the input", given)
        x, batched = given, given.ndim == 3
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            order = "batch, tokens" if self.batch_first else "tokens, batch"
            raise ValueError(
                f"{self._name}: expected an input of shape ({order}, {self.input_size}) or (tokens, "
                f"{self.input_size}), got {tuple(x.shape)}"
            )
        check_place(self._name, x, like)
        if lengths is None:
            x = x.unsqueeze(1) if not batched else x.transpose(0, 1) if self.batch_first else x
        if not x.shape[0]:
            raise ValueError(f"{self._name}: expected at least one token, got an input of shape {tuple(given.shape)}")
        return x, lengths, batched

    def _states(self, hx: object, x: Tensor, batched: bool) -> list[State]:
        """Return the states of all cells before the first token."""
        count = len(self.cells)
        if hx is None:
            return [cell.start(x[0]) for cell in self._cells]
        kind = self._cells[0]._states
        shape = (count, x.shape[1], self.hidden_size) if batched else (count, self.hidden_size)
        given = checked_state(self._name, hx, kind, shape, x)
        return [tuple(part[i] if batched else part[i].unsqueeze(0) for part in given) for i in range(count)]

    @property
    def _cells(self) -> list[Cell]:
        return list(self.cells)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bias={self.bias}, "
            f"batch_first={self.batch_first}, dropout={self.dropout:g}, bidirectional={self.bidirectional}"
        )


class _LSTM(_Recurrent):
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Return what the last layer says of every token, and h and c at the ends, as ``nn.LSTM`` does.

        Args:
            input: (tokens, batch, input_size), or with ``batch_first`` (batch, tokens, input_size), or a packed
                sequence, or without a batch (tokens, input_size).
            hx: h and c before the first token, (layers · directions, batch, hidden_size) each; 0 by default.
        """
        y, (h, c) = self._run(input, hx)
        return y, (h, c)


class _GRU(_Recurrent):
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return what the last layer says of every token, and h at the ends, as ``nn.GRU`` does.

        Args:
            input: (tokens, batch, input_size), or with ``batch_first`` (batch, tokens, input_size), or a packed
                sequence, or without a batch (tokens, input_size).
            hx: h before the first token, (layers · directions, batch, hidden_size); 0 by default.
        """
        y, (h,) = self._run(input, None if hx is None else (hx,))
        return y, h


class GMLSTM(_LSTM):
    """An LSTM of :class:`~gmlayers.nn.GMLSTMCell`, with the arguments and outputs of ``nn.LSTM``.

    Args:
        input_size: size of an input.
        hidden_size: size H of the state.
        num_layers: number of layers, each of which reads the one below.
        bias: whether gates and candidate have biases.
        batch_first: whether inputs are (batch, tokens, size), and not (tokens, batch, size); states are not changed.
        dropout: rate of dropout of what a layer reads of the one below.
        bidirectional: whether there are cells that read from the end, too.
        num_components: K of the candidate; by default as many as make the parameters of torch's cell.
        activation: f. The default is bounded, and cheap: its expectation is a single normal distribution function.
        rank: as in :class:`~gmlayers.GMFeedForward`, and so are the next three.
        level: whether there are levels.
        gate: whether there are gates.
        spread: whether the neurons vary.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    The parameters are those of ``cells``, in the order layer by layer, and in a layer forwards and backwards.

    Raises:
        ValueError: sizes below 1, a wrong input or state, an empty sequence.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMLSTM
        >>> net = GMLSTM(16, 32, num_layers=2, batch_first=True)
        >>> y, (h, c) = net(torch.randn(8, 50, 16))
        >>> y.shape, h.shape
        (torch.Size([8, 50, 32]), torch.Size([2, 8, 32]))
    """

    _name = "GMLSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
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
        def cell(size: int) -> Cell:
            return GMLSTMCell(
                *(size, hidden_size, bias),
                num_components=num_components,
                activation=activation,
                rank=rank,
                level=level,
                gate=gate,
                spread=spread,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, cell)


class GMNMLSTM(_LSTM):
    """An LSTM of :class:`~gmlayers.nn.GMNMLSTMCell`, with the arguments and outputs of ``nn.LSTM``.

    The arguments are those of :class:`GMLSTM` up to ``bidirectional``, and then those of
    :class:`~gmlayers.nn.GMNMLSTMCell`.

    The parameters are those of ``cells``, in the order layer by layer, and in a layer forwards and backwards.

    Raises:
        ValueError: sizes below 1, a wrong input or state, an empty sequence.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMLSTM
        >>> net = GMNMLSTM(16, 32, num_layers=2, batch_first=True)
        >>> y, (h, c) = net(torch.randn(8, 50, 16))
        >>> y.shape, h.shape
        (torch.Size([8, 50, 32]), torch.Size([2, 8, 32]))
    """

    _name = "GMNMLSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        num_components: int | None = None,
        rank: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        def cell(size: int) -> Cell:
            return GMNMLSTMCell(
                *(size, hidden_size, bias),
                num_components=num_components,
                rank=rank,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, cell)


class GMNMGRU(_GRU):
    """A GRU of :class:`~gmlayers.nn.GMNMGRUCell`, with the arguments and outputs of ``nn.GRU``.

    The arguments are those of :class:`GMLSTM` up to ``bidirectional``, and then those of
    :class:`~gmlayers.nn.GMNMGRUCell`.

    The parameters are those of ``cells``, in the order layer by layer, and in a layer forwards and backwards.

    Raises:
        ValueError: sizes below 1, a wrong input or state, an empty sequence.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMGRU
        >>> net = GMNMGRU(16, 32, num_layers=2, batch_first=True)
        >>> y, h = net(torch.randn(8, 50, 16))
        >>> y.shape, h.shape
        (torch.Size([8, 50, 32]), torch.Size([2, 8, 32]))
    """

    _name = "GMNMGRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        num_components: int | None = None,
        rank: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        def cell(size: int) -> Cell:
            return GMNMGRUCell(
                *(size, hidden_size, bias),
                num_components=num_components,
                rank=rank,
                device=device,
                dtype=dtype,
            )

        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, cell)


def _read(cell: Cell, x: Tensor, state: State, lengths: Tensor | None, *, backwards: bool) -> tuple[Tensor, State]:
    """Return what a cell says of every token, (tokens, batch, hidden_size), and its state at the end.

    Where sequences have ended, states stay as they are, and what is said is 0.
    """
    said: list[Tensor] = []
    for t in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
        answer = cell(x[t], state if cell._states > 1 else state[0])  # its call, which hooks and pruning need
        new: State = answer if isinstance(answer, tuple) else (answer,)
        if lengths is None:
            state = new
            said.append(new[0])
        else:
            there = (t < lengths).unsqueeze(1)
            state = tuple(torch.where(there, after, before) for after, before in zip(new, state))
            said.append(torch.where(there, new[0], 0))
    return torch.stack(said[::-1] if backwards else said), state


def _packed(y: Tensor, like: PackedSequence) -> PackedSequence:
    """Return (tokens, batch, size) as a packed sequence like another one."""
    lengths = (torch.arange(1, int(like.batch_sizes[0]) + 1).unsqueeze(1) <= like.batch_sizes).sum(1)
    y = y if like.sorted_indices is None else y.index_select(1, like.sorted_indices)
    data = pack_padded_sequence(y, lengths).data
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
