"""Linear-activation-Linear and gated blocks in a model: where they are, and what they read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gmlayers._arguments import called, check_callable, check_module, several
from gmlayers._names import brief_value
from gmlayers._shown import brief
from gmlayers.functional import ACTIVATIONS, Activation

NEAR = 1e-3
"""An activation is taken for the nearest one of the table, which must not differ from it by more anywhere."""

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d)
"""These may stand between first and activation of a block in an ``nn.Sequential``."""


@dataclass(frozen=True)
class Pattern:
    """The names of the parts of a block in the module that holds it, dotted if they lie deeper.

    The module must compute ``second(between(activation(first(x))))`` and nothing else between ``first`` and ``second``.

    Args:
        first: an ``nn.Linear``, or a ``Conv1D`` as in GPT-2.
        activation: a module or a function.
        second: another one.
        between: what may stand after the activation: dropouts, as modules or as rates, and identities. They may be
            missing.

    Example:
        >>> from gmlayers.convert import Pattern
        >>> Pattern("up", "act", "down", between=("drop",))
        Pattern(first='up', activation='act', second='down', between=('drop',))
    """

    first: str
    activation: str
    second: str
    between: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("first", "activation", "second"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"Pattern: {name} must be a name, got {brief_value(getattr(self, name))}")
        names = several("Pattern: between", self.between, str, "names in a tuple, like ('drop',)")
        object.__setattr__(self, "between", names)


PATTERNS = (
    Pattern("linear1", "activation", "linear2", ("dropout",)),  # torch's transformer layers
    Pattern("fc1", "act", "fc2", ("drop1", "norm", "grn", "gate")),  # timm
    Pattern("fc1", "activation_fn", "fc2", ("activation_dropout",)),  # CLIP, OPT, BART, Whisper, Phi
    Pattern("fc1", "activation", "fc2"),  # DINOv2
    Pattern("c_fc", "act", "c_proj"),  # GPT-2
    Pattern("c_fc", "gelu", "c_proj"),  # nanoGPT
    Pattern("dense_h_to_4h", "act", "dense_4h_to_h"),  # GPT-NeoX
    Pattern("fc_in", "act", "fc_out"),  # GPT-J
    Pattern("lin1", "activation", "lin2"),  # DistilBERT
    Pattern("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),  # BERT, ViT
)
"""Common libraries give these names to the parts; blocks in an ``nn.Sequential`` are found without names."""


@dataclass(frozen=True)
class GatedPattern:
    """The names of the parts of a gated block in the module that is the block.

    The module must compute ``down(between(activation(gate(x)) * up(x)))`` and nothing else. It is called with random
    numbers, without its hooks, before it is taken for one; and it must have no dropout but what stands in ``between``.

    Args:
        gate: an ``nn.Linear``.
        up: another one, of the same size.
        down: a third one.
        activation: a module or a function.
        between: dropouts, as in :class:`Pattern`.

    Example:
        >>> from gmlayers.convert import GatedPattern
        >>> GatedPattern("gate", "up", "down", "act")
        GatedPattern(gate='gate', up='up', down='down', activation='act', between=())
    """

    gate: str
    up: str
    down: str
    activation: str
    between: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("gate", "up", "down", "activation"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"GatedPattern: {name} must be a name, got {brief_value(getattr(self, name))}")
        names = several("GatedPattern: between", self.between, str, "names in a tuple, like ('drop',)")
        object.__setattr__(self, "between", names)


GATED_PATTERNS = (
    GatedPattern("gate_proj", "up_proj", "down_proj", "act_fn"),  # Llama, Mistral, Qwen, Gemma
    GatedPattern("wi_0", "wi_1", "wo", "act", ("dropout",)),  # T5 v1.1
    GatedPattern("fc1_g", "fc1_x", "fc2", "act", ("drop1", "norm")),  # timm's SwiGLU
)
"""Common libraries give these names to the parts of gated blocks."""


class Slot(NamedTuple):
    """A place in a model, and what was found there."""

    owner: nn.Module
    name: str
    part: object

    __repr__ = brief


@dataclass(frozen=True, eq=False)
class Block:
    """A Linear-activation-Linear block in a model."""

    path: str
    """Name of the first part in the model; what takes the place of the block will have it."""
    first: nn.Linear
    """The first linear map; in place of a ``Conv1D`` it is an ``nn.Linear`` with a copy of its weights."""
    activation: Activation
    """The entry of :data:`gmlayers.functional.ACTIVATIONS` with the same values, up to 1e-3."""
    second: nn.Linear
    dropout: float
    """The largest rate of dropout between activation and second."""
    slots: tuple[Slot, ...]
    """Places of first, norm, activation, second, and of dropouts with a rate above 0."""
    norm: nn.Module | None = None
    """What stands between first and activation, as in Linear - LayerNorm - activation - Linear."""

    @property
    def in_features(self) -> int:
        """Size of what it reads."""
        return self.first.in_features

    @property
    def out_features(self) -> int:
        """Size of what it gives."""
        return self.second.out_features

    def __repr__(self) -> str:
        norm = "" if self.norm is None else f", norm={type(self.norm).__name__}"
        return (
            f"Block({self.path!r}, {self.first.in_features}, {self.first.out_features}, {self.second.out_features}, "
            f"activation={self.activation}{norm}, dropout={self.dropout:g})"
        )


@dataclass(frozen=True, eq=False)
class GatedBlock:
    """A gated block in a model, ``down(activation(gate(x)) * up(x))``: :func:`glu_to_gm` converts it exactly."""

    path: str
    """Name of the block in the model; what takes its place will have it."""
    gate: nn.Linear
    up: nn.Linear
    activation: Activation
    """The entry of :data:`gmlayers.functional.ACTIVATIONS` with the same values, up to 1e-3."""
    down: nn.Linear
    dropout: float
    """The largest rate of dropout before ``down``."""
    slots: tuple[Slot, ...]
    """Its places: several in a model that uses it more than once."""

    @property
    def in_features(self) -> int:
        """Size of what it reads."""
        return self.gate.in_features

    @property
    def out_features(self) -> int:
        """Size of what it gives."""
        return self.down.out_features

    def __repr__(self) -> str:
        return (
            f"GatedBlock({self.path!r}, {self.gate.in_features}, {self.gate.out_features}, {self.down.out_features}, "
            f"activation={self.activation}, dropout={self.dropout:g})"
        )


def find_blocks(
    model: nn.Module,
    *,
    patterns: Sequence[Pattern | GatedPattern] = (*PATTERNS, *GATED_PATTERNS),
    activations: Iterable[Activation] = (),
) -> list[Block | GatedBlock]:
    """Return the blocks of a model that a GM layer or a :class:`~gmlayers.GMFeedForward` could take the place of.

    They are runs of Linear, norm (if any), activation, dropouts (if any), Linear in an ``nn.Sequential``, and modules
    that hold parts of the right kind under the names of a pattern. Two blocks never share a part. Activations are known
    by their values, whatever they are called: functions are called with numbers, and modules that may be gated blocks
    with random ones.

    Args:
        model: any module.
        patterns: what to look for outside of ``nn.Sequential``; ``(*PATTERNS, *GATED_PATTERNS, Pattern(...))`` adds
            one.
        activations: some of your own to be known besides those of the table.

    Example:
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=32, batch_first=True)
        >>> convert.find_blocks(nn.Sequential(nn.Linear(4, 30), nn.GELU(), nn.Linear(30, 8), layer))
        [Block('0', 4, 30, 8, activation=gelu, dropout=0), Block('3.linear1', 8, 32, 8, activation=relu, dropout=0.1)]
    """
    check_module("find_blocks: model", model)
    patterns = several("find_blocks: patterns", patterns, (Pattern, GatedPattern), "a sequence of Pattern")
    activations = several("find_blocks: activations", activations, Activation, "a sequence of Activation")
    known = [*activations, *(activation for name, activation in ACTIVATIONS.items() if name != "identity")]
    named = [((p.first, p.activation, p.second), (), p.between) for p in patterns if isinstance(p, Pattern)]
    gated = [p for p in patterns if isinstance(p, GatedPattern)]
    found: list[Block | GatedBlock] = []
    used: set[tuple[int, str]] = set()
    for path, module in model.named_modules():
        plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        blocks = [
            *(_block(path, module, *names, known) for names in (_runs(module) if plain else named)),
            *(_gated_block(model, path, module, pattern, [*known, ACTIVATIONS["identity"]]) for pattern in gated),
        ]
        for block in blocks:
            places = set() if block is None else {(id(slot.owner), slot.name) for slot in block.slots}
            if block is not None and not places & used:
                found.append(block)
                used |= places
    return found


@torch.no_grad()
def block_inputs(blocks: Sequence[Block | GatedBlock], run: Callable[[], object]) -> dict[str, Tensor]:
    """Return what blocks read while a model runs: the inputs that :func:`mlp_to_gm` asks for.

    Args:
        blocks: what :func:`find_blocks` has found.
        run: calls the model on data, in evaluation mode if it has dropout.

    Returns:
        By path, one row for each vector read, (n, in_features).

    Raises:
        ValueError: if a block reads nothing, because it is not called.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> model = nn.Sequential(nn.Linear(4, 30), nn.GELU(), nn.Linear(30, 8))
        >>> blocks = convert.find_blocks(model)
        >>> convert.block_inputs(blocks, lambda: model(torch.randn(5, 7, 4)))["0"].shape
        torch.Size([35, 4])
    """
    blocks = several("block_inputs: blocks", blocks, (Block, GatedBlock), "blocks that find_blocks has found")
    check_callable("block_inputs: run", run)
    read: dict[str, list[Tensor]] = {block.path: [] for block in blocks}
    handles: list[RemovableHandle] = []
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # torch's transformer layers may go past their parts otherwise
        for block in blocks:
            first, rows = block.slots[0].part, read[block.path]
            assert isinstance(first, nn.Module)
            handles.append(first.register_forward_pre_hook(_into(rows)))
        called("block_inputs", "run", run)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
    for path, rows in read.items():
        if not rows:
            raise ValueError(f"block_inputs: {path!r} read nothing; does run call the model that the block is in?")
    return {path: torch.cat(rows) for path, rows in read.items()}


def _into(rows: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that keeps what a module is called with."""
    return lambda _, args: rows.append(args[0].reshape(-1, args[0].shape[-1]))


Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _runs(module: nn.Module) -> Iterator[Names]:
    """Yield names (first, activation, second), of a norm, and between, wherever a Linear follows another one."""
    parts = module._modules
    names = tuple(parts)
    linear = [i for i, child in enumerate(parts.values()) if _as_linear(child) is not None]
    for i, j in pairwise(linear):
        normed = int(isinstance(parts[names[i + 1]], NORMS))
        if j - i >= 2 + normed:
            yield (names[i], names[i + 1 + normed], names[j]), names[i + 1 : i + 1 + normed], names[i + 2 + normed : j]


def _block(
    path: str,
    module: nn.Module,
    names: Sequence[str],
    norm: Sequence[str],
    between: Sequence[str],
    known: Sequence[Activation],
) -> Block | None:
    """Return the block with parts of these names, or None if there is none or it is more than that."""
    slots = [slot for name in names if (slot := _slot(module, name)) is not None]
    dropouts = [slot for name in between if (slot := _slot(module, name)) is not None]
    rates = [rate for slot in dropouts if (rate := _rate(slot.part)) is not None]
    if len(slots) < len(names) or len(rates) < len(dropouts):
        return None
    first, f, second = slots
    one, two = _as_linear(first.part), _as_linear(second.part)
    if one is None or two is None or one.out_features != two.in_features:
        return None
    activation = _known(f.part, known)
    if activation is None:
        return None
    normed = [slot for name in norm if (slot := _slot(module, name)) is not None]
    slots = [first, *normed, f, second, *(slot for slot, rate in zip(dropouts, rates) if rate)]
    found = next((slot.part for slot in normed if isinstance(slot.part, nn.Module)), None)
    return Block(f"{path}.{names[0]}".lstrip("."), one, activation, two, max(rates, default=0.0), tuple(slots), found)


def _gated_block(
    model: nn.Module, path: str, module: nn.Module, pattern: GatedPattern, known: Sequence[Activation]
) -> GatedBlock | None:
    """Return the gated block that a module is, or None if it is none, or more than that."""
    names = pattern.gate, pattern.up, pattern.down
    gate, up, down = (part if _is_linear(part := getattr(module, n, None)) else None for n in names)
    dropouts = [part for n in pattern.between if (part := getattr(module, n, None)) is not None]
    rates = [rate for part in dropouts if (rate := _rate(part)) is not None]
    if not path or gate is None or up is None or down is None or len(rates) < len(dropouts):
        return None
    if gate.weight.shape != up.weight.shape or gate.out_features != down.in_features:
        return None
    others = [part for part in module.modules() if isinstance(part, nn.Dropout) and part not in dropouts]
    if any(part.p for part in others):
        return None
    activation = _known(getattr(module, pattern.activation, None), known)
    if activation is None or not _computes(module, gate, up, down, activation):
        return None
    slots = tuple(
        Slot(owner, name, module)
        for owner in model.modules()
        for name, child in owner._modules.items()
        if child is module
    )
    return GatedBlock(path, gate, up, activation, down, max(rates, default=0.0), slots)


@torch.no_grad()
def _computes(module: nn.Module, gate: nn.Linear, up: nn.Linear, down: nn.Linear, activation: Activation) -> bool:
    """Return whether a module gives what a gated block of these parts does, without dropout, for random inputs."""
    if gate.weight.is_meta:
        return True  # there are no numbers to compare
    with torch.random.fork_rng([]):
        x = torch.randn(3, gate.in_features).to(gate.weight)
    modes = {part: part.training for part in module.modules()}
    hooks = [(part, name, getattr(part, name)) for part in modes for name in ("_forward_hooks", "_forward_pre_hooks")]
    try:
        for part, name, _ in hooks:
            setattr(part, name, OrderedDict())
        module.eval()
        hidden = activation.f(gate(x).float()).to(x.dtype) * up(x)
        expected = down(hidden.to(down.weight.dtype))
        found = module.forward(x)
    except Exception:
        return False
    finally:
        for part, name, there in hooks:
            setattr(part, name, there)
        for part, mode in modes.items():
            part.training = mode
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= 10 * NEAR * expected.abs().max() + torch.finfo(x.dtype).tiny)


def _slot(module: nn.Module, name: str) -> Slot | None:
    *above, last = name.split(".")
    for part in above:
        module = getattr(module, part, None)  # type: ignore[assignment]
    found = getattr(module, last, None)
    return Slot(module, last, found) if isinstance(module, nn.Module) and found is not None else None


def _is_linear(part: object) -> TypeGuard[nn.Linear]:
    """Return whether a part computes what an ``nn.Linear`` does: some that are derived from it do more."""
    return isinstance(part, nn.Linear) and type(part).forward is nn.Linear.forward


def _as_linear(part: object) -> nn.Linear | None:
    """Return an ``nn.Linear`` as it is, a ``Conv1D`` as an ``nn.Linear``, anything else as None."""
    if _is_linear(part):
        return part
    if type(part).__name__ != "Conv1D" or not isinstance(part, nn.Module) or not hasattr(part, "nf"):
        return None
    weight, bias = part.get_parameter("weight").detach(), part.get_parameter("bias").detach()
    linear = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight.T.clone()), nn.Parameter(bias.clone())
    return linear


def _rate(part: object) -> float | None:
    """Return the rate of a dropout, 0 for an identity, None for anything else."""
    if isinstance(part, nn.Dropout):
        return part.p
    if isinstance(part, (int, float)):
        return float(part)
    return 0.0 if isinstance(part, nn.Identity) else None


def _known(part: object, known: Sequence[Activation]) -> Activation | None:
    """Return the activation that has the same values on a grid."""
    if not callable(part) or isinstance(part, nn.Dropout):
        return None
    if isinstance(part, nn.Module) and next(part.parameters(), None) is not None:
        return None
    z = torch.linspace(-8, 8, 321, dtype=torch.float32, device="cpu")  # whatever the defaults are
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            value = part(z.clone())  # which may change it in place
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):  # it takes something else than a vector
        return None
    if not isinstance(value, Tensor) or value.shape != z.shape:
        return None
    apart = [float((activation.f(z) - value).abs().max()) for activation in known]
    nearest = min(range(len(known)), key=apart.__getitem__)
    return known[nearest] if apart[nearest] <= NEAR else None
