"""What a swapped model must say of itself so that it can be built again: for saving and loading by other libraries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from gmlayers._arguments import got, several
from gmlayers._names import brief_value, look_up
from gmlayers.convert._blocks import GATED_PATTERNS, PATTERNS, Block, GatedBlock, GatedPattern, Pattern, find_blocks
from gmlayers.convert._fit import Shift
from gmlayers.convert._swap import Swapped, swap_layers
from gmlayers.functional import Activation
from gmlayers.nn import (
    Covariance,
    Diagonal,
    Full,
    GMFeedForward,
    GMLayer,
    GMNMFeedForward,
    LowRank,
    Regression,
    SharedFactor,
)

KEY = "gmlayers"
"""A configuration has the record by this name."""

FAMILIES = {family.__name__: family for family in (LowRank, SharedFactor, Diagonal, Full, Regression)}


C = TypeVar("C", bound=nn.Module)


def record(swapped: Swapped) -> dict[str, dict[str, Any]]:
    """Return what was put into a model, by the paths of the blocks, as JSON can hold it.

    With it :func:`swapped_class` builds the model again, for instance to load what ``save_pretrained`` of transformers
    has written.

    Args:
        swapped: what :func:`swap_layers` has returned. The new modules must be :class:`~gmlayers.GMLayer`,
            :class:`~gmlayers.GMFeedForward`, :class:`~gmlayers.GMNMFeedForward` or :class:`Shift`, or an
            ``nn.Sequential`` of these, with activations of the table and families of the library.

    Raises:
        ValueError: for another module, activation or family.

    Example:
        >>> from torch import nn
        >>> from gmlayers import GMFeedForward, convert
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 4))
        >>> swapped = convert.swap_layers(model, lambda block: GMFeedForward(4, 16))
        >>> convert.record(swapped)["0"]["module"]
        'GMFeedForward'
    """
    if not isinstance(swapped, Swapped):
        raise TypeError(f"record: swapped must be what swap_layers returned, got {got(swapped)}")
    return {block.path: _described(module, block.path) for block, module in zip(swapped.blocks, swapped.modules)}


def swapped_class(
    model_class: type[C],
    *,
    patterns: Sequence[Pattern | GatedPattern] = (*PATTERNS, *GATED_PATTERNS),
    activations: Iterable[Activation] = (),
) -> type[C]:
    """Return a class like the one given that makes the swaps of which its configuration has a record.

    Args:
        model_class: a class of transformers, or any whose first argument is a configuration that it keeps as
            ``config``.
        patterns: what :func:`find_blocks` looked for when the model was swapped.
        activations: some of your own that it was told of.

    Raises:
        ValueError: when a model is made, if the configuration has no record, or one that does not fit the model.

    Example:
        A model of transformers is swapped, saved and loaded like this::

            swapped = convert.swap_layers(model, make)
            model.config.gmlayers = convert.record(swapped)
            model.save_pretrained("folder")
            model = convert.swapped_class(LlamaForCausalLM).from_pretrained("folder")
    """
    if not isinstance(model_class, type) or not issubclass(model_class, nn.Module):
        raise TypeError(f"swapped_class: model_class must be a class of modules, got {got(model_class)}")
    patterns = several("swapped_class: patterns", patterns, (Pattern, GatedPattern), "a sequence of Pattern")
    activations = several("swapped_class: activations", activations, Activation, "a sequence of Activation")

    class Rebuilt(model_class):  # type: ignore[valid-type, misc]
        def __init__(self, config: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(config, *args, **options)
            _rebuild(self, getattr(config, KEY, None), find_blocks(self, patterns=patterns, activations=activations))

        def __reduce_ex__(self, protocol: Any) -> Any:  # noqa: ANN401  (a class that is made here has no name to pickle)
            return _empty, (model_class, patterns, activations), self.__dict__

    Rebuilt.__name__, Rebuilt.__qualname__ = model_class.__name__, model_class.__qualname__
    Rebuilt.__module__, Rebuilt.__doc__ = model_class.__module__, model_class.__doc__
    return cast("type[C]", Rebuilt)


def _empty(model_class: type[C], patterns: Sequence[Pattern | GatedPattern], activations: Sequence[Activation]) -> C:
    """Return a model without anything in it, for a pickle to fill."""
    made = swapped_class(model_class, patterns=patterns, activations=activations)
    return made.__new__(made)


def _rebuild(model: nn.Module, found: object, there: Sequence[Block | GatedBlock]) -> None:
    """Swap the blocks of a fresh model for fresh modules, as a record says.

    A model with a head has the record of one without under a prefix, and the other way round, as transformers has it.
    """
    if not isinstance(found, Mapping) or not found:
        raise ValueError(
            f"swapped_class: the configuration has no record of swaps, got {KEY}={brief_value(found)}; before saving, "
            f"set model.config.{KEY} = convert.record(swapped)"
        )
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    blocks = {block.path: block for block in there}
    if not found.keys() & blocks.keys() and len(prefix) > 1:
        inside = any(path.startswith(prefix) for path in blocks)
        found = {prefix + path if inside else path.removeprefix(prefix): entry for path, entry in found.items()}
    if missing := sorted(found.keys() - blocks.keys()):
        raise ValueError(
            f"swapped_class: the record has a block {brief_value(missing[0])}, and {type(model).__name__} has none "
            f"there; is it of a model of this class? patterns and activations that it was found by must be given again"
        )

    def build(block: Block | GatedBlock) -> nn.Module:
        slot = block.slots[0].part
        assert isinstance(slot, nn.Module)
        like = next(slot.parameters())
        return _built(found[block.path], block.path).to(device=like.device, dtype=like.dtype)

    swap_layers(model, build, blocks=[blocks[path] for path in found], remove_dropout=True, remove_norm=True)


def _described(module: nn.Module, path: str) -> dict[str, Any]:
    kind = type(module)
    if kind is nn.Sequential:
        return {"module": "Sequential", "parts": [_described(part, path) for part in module.children()]}
    arguments = next((describe(module) for of, (describe, _) in MODULES.items() if of is kind), None)
    if arguments is None:
        raise ValueError(f"record: there is no record of a {kind.__name__}, which stands in the place of {path!r}")
    return {"module": kind.__name__, **arguments}


def _built(content: Any, path: str) -> nn.Module:  # noqa: ANN401  (whatever a file holds)
    try:
        given: dict[str, Any] = dict(content)
        name = given.pop("module")
        if name == "Sequential":
            return nn.Sequential(*(_built(part, path) for part in given["parts"]))
        build = look_up("module", name, {kind.__name__: build for kind, (_, build) in MODULES.items()})
        return build(given)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"swapped_class: the record of {path!r} is damaged: {error}") from None


def _activation(activation: Activation) -> str:
    if not activation.in_table:
        raise ValueError(f"record: there is no record of an activation of one's own, got {activation}")
    return activation.name


def _family(covariance: Covariance) -> dict[str, Any]:
    if FAMILIES.get(type(covariance).__name__) is not type(covariance):
        raise ValueError(f"record: there is no record of a covariance of one's own, got {covariance}")
    fields = dataclasses.fields(covariance)  # type: ignore[arg-type]
    return {"family": type(covariance).__name__, **{f.name: getattr(covariance, f.name) for f in fields if f.init}}


SIZES = "in_features", "out_features", "num_components"


def _taken(module: nn.Module, *names: str) -> dict[str, Any]:
    """Return the sizes of a module, whether it has a bias, and those of its attributes that are arguments."""
    return {**{name: getattr(module, name) for name in (*SIZES, *names)}, "bias": module.bias is not None}


def _of_layer(layer: GMLayer) -> dict[str, Any]:
    return {
        **_taken(layer, "scaling", "init_scale"),
        "covariance": _family(layer.covariance),
        "activation": _activation(layer.activation),
        "learn_weights": layer.weight_logits is not None,
    }


def _layer(given: dict[str, Any]) -> GMLayer:
    family = dict(given.pop("covariance"))
    covariance = look_up("family", family.pop("family"), FAMILIES)(**family)
    return GMLayer(**given, covariance=covariance)


def _of_block(block: GMFeedForward) -> dict[str, Any]:
    own = _taken(block, "rank", "level", "gate", "spread")
    return {**own, "activation": _activation(block.activation), "drop": block.drop.p}


def _of_bumps(block: GMNMFeedForward) -> dict[str, Any]:
    return {**_taken(block, "rank"), "drop": block.drop.p}


MODULES: dict[type[nn.Module], tuple[Callable[[Any], dict[str, Any]], Callable[[dict[str, Any]], nn.Module]]] = {
    GMLayer: (_of_layer, _layer),
    GMFeedForward: (_of_block, lambda given: GMFeedForward(**given)),
    GMNMFeedForward: (_of_bumps, lambda given: GMNMFeedForward(**given)),
    Shift: (lambda shift: {"features": len(shift.bias)}, lambda given: Shift(torch.zeros(given["features"]))),
}
"""The table says, for each kind of module, how it is described and built."""
