"""Other layers in the place of Linear-activation-Linear and gated blocks, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn

from gmlayers._arguments import called, check_callable, check_module, several
from gmlayers._names import brief_value, flag
from gmlayers._shown import brief
from gmlayers.convert._blocks import GATED_PATTERNS, PATTERNS, Block, GatedBlock, Slot, find_blocks

T = TypeVar("T")


@dataclass(eq=False)
class Swapped:
    """The record of what :func:`swap_layers` has done to a model."""

    blocks: tuple[Block | GatedBlock, ...]
    """The blocks that were taken out."""
    modules: tuple[nn.Module, ...]
    """The modules that stand in their places."""
    _slots: list[Slot] = field(repr=False)

    __repr__ = brief

    def undo(self) -> None:
        """Put the blocks back, the very same modules; what stood in their places is left to you.

        They are as they were taken out, in the mode that the model is in now. A change of device or dtype in between
        has not reached them.

        Raises:
            RuntimeError: if it has been undone before.
        """
        if not self._slots:
            raise RuntimeError("Swapped.undo: this swap has been undone already")
        while self._slots:
            owner, name, part = self._slots.pop()
            setattr(owner, name, part.train(owner.training) if isinstance(part, nn.Module) else part)


def swap_layers(
    model: nn.Module,
    convert: Callable[[Any], nn.Module],
    *,
    blocks: Sequence[Block | GatedBlock] | None = None,
    remove_dropout: bool = False,
    remove_norm: bool = False,
) -> Swapped:
    """Replace Linear-activation-Linear and gated blocks of a model, in place.

    The new module goes where the first Linear was, and identities where the activation and the second Linear were, so
    that whatever calls them in this order need not know; a gated block is replaced as a whole. All new modules are made
    and tried before the first is put in: after an error the model is as it was. Names of other parameters do not
    change.

    Dropout between activation and second is kept by a module that has such dropout itself, such as
    ``GMFeedForward(..., drop=block.dropout)``.

    ``nn.TransformerEncoderLayer`` has a fast path for evaluation that reads the weights of its Linear layers instead of
    calling them. It is turned off in layers with a swapped block, and in ``nn.TransformerEncoder`` around them.

    Args:
        model: any module that has the blocks inside.
        convert: makes the new module from ``block.first``, ``block.activation``, ``block.second``; for instance with
            :func:`mlp_to_gm` or :meth:`gmlayers.GMLayer.matching`. A :class:`GatedBlock` has ``gate``, ``up``,
            ``activation`` and ``down``, as :func:`glu_to_gm` takes them.
        blocks: what :func:`find_blocks` has found, perhaps with patterns of your own, or some of it; by default all.
        remove_dropout: take out dropout between activation and second that the new module does not have.
        remove_norm: take out a norm between first and activation, which no new module can stand in for.

    Returns:
        What was replaced by what, with a method ``undo``.

    Raises:
        ValueError: if there is no block, one has forward hooks, dropout that would be lost or a norm, is not in place
            any more or given twice, or the new module gives another number of features.
        TypeError: if the model, or what is made, is not a module, or ``convert`` does not take a block alone.

    Example:
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> model = nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 2))
        >>> swapped = convert.swap_layers(
        ...     model, lambda block: convert.mlp_to_gm(block.first, block.second, 5, activation=block.activation).module
        ... )
        >>> swapped.blocks
        (Block('0', 4, 30, 2, activation=relu, dropout=0),)
        >>> swapped.undo()
        >>> model[0]
        Linear(in_features=4, out_features=30, bias=True)
    """
    check_module("swap_layers: model", model)
    example = "lambda block: GMLayer.matching(block.first, block.second)"
    check_callable(f"swap_layers: convert, for instance {example},", convert, takes=1)
    remove_dropout = flag("swap_layers: remove_dropout", remove_dropout)
    remove_norm = flag("swap_layers: remove_norm", remove_norm)
    if blocks is None:
        chosen = tuple(find_blocks(model))
    else:
        chosen = several("swap_layers: blocks", blocks, (Block, GatedBlock), "blocks that find_blocks has found")
    if not chosen:
        named = ", ".join(f"{p.first} - {p.activation} - {p.second}" for p in PATTERNS)
        gated = ", ".join(f"{p.down}({p.activation}({p.gate}) * {p.up})" for p in GATED_PATTERNS)
        raise ValueError(
            f"swap_layers: found no block in {type(model).__name__}; looked inside of it for Linear, a known "
            f"activation, Linear in nn.Sequential, for {named}, and for modules that are {gated}; give "
            f"blocks=find_blocks(model, patterns=..., activations=...)"
        )
    _check(chosen, remove_norm=remove_norm)
    modules = tuple(_made(convert, block, remove_dropout=remove_dropout) for block in chosen)
    edits: list[tuple[Slot, object]] = _without_fast_paths(model, chosen)
    for block, module in zip(chosen, modules):
        first, *rest = block.slots
        whole = isinstance(block, GatedBlock)  # its slots are places of the same
        edits += [(first, module), *((slot, module if whole else _nothing(slot)) for slot in rest)]
    swapped = Swapped(chosen, modules, [slot for slot, _ in edits])
    for (owner, name, _), new in edits:
        setattr(owner, name, new)
    return swapped


def _check(blocks: Sequence[Block | GatedBlock], *, remove_norm: bool) -> None:
    seen = set[tuple[int, str]]()
    for block in blocks:
        for owner, name, part in block.slots:
            if getattr(owner, name, None) is not part or (id(owner), name) in seen:
                raise ValueError(
                    f"swap_layers: {name!r} of block {block.path!r} is given twice or not in place any more; "
                    f"call find_blocks again"
                )
            inside = part.modules() if isinstance(part, nn.Module) else ()
            if any(one._forward_hooks or one._forward_pre_hooks for one in inside):
                raise ValueError(
                    f"swap_layers: {name!r} of block {block.path!r} has forward hooks, which would be lost; "
                    f"remove them first"
                )
            seen.add((id(owner), name))
        if isinstance(block, Block) and block.norm is not None and not remove_norm:
            raise ValueError(
                f"swap_layers: block {block.path!r} has a {type(block.norm).__name__} between first and activation, "
                f"which no new module can stand in for; pass remove_norm=True to take it out"
            )


def _made(convert: Callable[[Any], nn.Module], block: Block | GatedBlock, *, remove_dropout: bool) -> nn.Module:
    module = called("swap_layers", "convert", convert, block)
    if not isinstance(module, nn.Module):
        raise TypeError(f"swap_layers: expected convert to make a module for {block.path!r}, got {brief_value(module)}")
    if block.dropout and not remove_dropout and not _drops(module, block.dropout):
        raise ValueError(
            f"swap_layers: block {block.path!r} has dropout of {block.dropout:g} between activation and second Linear, "
            f"and the new module has none; make one that has it, such as GMFeedForward(..., drop=block.dropout), or "
            f"pass remove_dropout=True to take it out"
        )
    with torch.no_grad():
        zeros = next(block.slots[0].part.parameters()).new_zeros(1, block.in_features)  # type: ignore[attr-defined]
        shape = tuple(getattr(called("swap_layers", f"the new module for {block.path!r}", module, zeros), "shape", ()))
    if shape != (1, block.out_features):
        raise ValueError(
            f"swap_layers: in place of {block.path!r} expected a module that gives {block.out_features} features, got "
            f"outputs of shape {shape} for one input"
        )
    return module.train(block.slots[0].owner.training)


def _drops(module: nn.Module, rate: float) -> bool:
    return any(isinstance(part, nn.Dropout) and part.p == rate for part in module.modules())


def _nothing(slot: Slot) -> object:
    """Return what does nothing in the place of a part: of a module, a rate of dropout, or a function."""
    if isinstance(slot.part, nn.Module):
        return nn.Identity().train(slot.owner.training)
    return 0.0 if isinstance(slot.part, (int, float)) else _same


def _same(x: T) -> T:
    return x


def _without_fast_paths(model: nn.Module, blocks: Sequence[Block | GatedBlock]) -> list[tuple[Slot, object]]:
    """Return what makes torch's transformer encoders call the parts that have been swapped."""
    swapped = {slot.owner for block in blocks for slot in block.slots}
    edits: list[tuple[Slot, object]] = []
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            name, off = "activation_relu_or_gelu", 0
        elif isinstance(module, nn.TransformerEncoder):
            name, off = "use_nested_tensor", False
        else:
            continue
        if swapped.intersection(module.modules()):
            edits.append((Slot(module, name, getattr(module, name)), off))
    return edits
