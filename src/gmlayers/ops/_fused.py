"""One way to put a hand-written forward and backward into autograd without losing any derivative.

A fast path supplies the value and the first backward. Everything else (derivatives of derivatives, forward mode,
``vmap`` of all that is not elementwise, batched gradients, tracing, subclasses of tensors) is taken from the plain
reference, which is made of torch's own operations. So no order of derivative can be wrong because a kernel forgot it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor
from torch.autograd import forward_ad
from torch.nn import Parameter

Tensors = tuple[Tensor | None, ...]


class Call(Protocol):
    """One call of one implementation. Values are tuples, also where there is one."""

    outputs: int
    """Number of values."""
    finds_values: bool
    """True if the backward finds the values again, in front of what was kept."""
    elementwise: bool
    """True if another leading axis of all tensors is no more than more elements, so that ``vmap`` is one call."""

    @property
    def reference(self) -> Callable[..., tuple[Tensor, ...]]:
        """The values in plain differentiable operations."""
        ...

    @property
    def forward(self) -> Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """The values, and what the backward should find again beside them."""
        ...

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        """Return the gradients of those tensors that need one, given the gradients of the values."""
        ...


def run(call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    """Return the values of a call; it enters autograd only where that may be needed."""
    if _plain_only(tensors):
        return call.reference(*tensors)
    if any(t is not None and is_functorch_wrapped_tensor(t) for t in tensors):  # these work without grad mode too
        return _Transformable.apply(call, *tensors)[0 : call.outputs]
    if torch.is_grad_enabled():
        return _Fused.apply(call, *tensors)[0 : call.outputs]
    return _values(call, tensors)[0 : call.outputs]


def recorded() -> bool:
    """Return whether a compiler or a tracer records what is done: it may be replayed on batches of other sizes."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _plain_only(tensors: Tensors) -> bool:
    """Return whether only torch's own operations know what to do: forward mode, tracing, subclasses of tensors.

    A custom Function under forward mode inside forward mode gives 0 without an error.
    """
    return (
        forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
        or any(t is not None and type(t) is not Tensor and type(t) is not Parameter for t in tensors)
    )


def readable(tensor: Tensor) -> bool:
    """Return whether Python may look at the numbers: there are some, and no device is waited for."""
    if recorded() or tensor.device.type != "cpu":
        return False
    return not (_plain_only((tensor,)) or batched_by_vmap(tensor))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:  # noqa: ANN401
        output = _values(call, tensors)
        _keep(ctx, call, tensors, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # noqa: ANN401
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[1:]  # saved tensors may be unpacked only once
        tensors, kept = saved[: ctx.count], saved[ctx.count :]
        given = tuple(
            torch.zeros(shape, dtype=dtype, device=device) if grad is None else grad
            for grad, (shape, dtype, device) in zip(grads, ctx.values)
        )
        if torch.is_grad_enabled() or forward_ad._current_level >= 0 or any(batched_by_vmap(grad) for grad in given):
            return None, *_pull_back(ctx.call.reference, tensors, given, needs)
        return None, *ctx.call.backward(tensors, kept, given, needs)


class _Transformable(_Fused):
    """The same for the transforms of ``torch.func``; autograd takes 8 µs more to enter this form of a Function."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:  # type: ignore[override]
        return _values(call, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        _keep(ctx, inputs[0], inputs[1:], output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:  # noqa: ANN401
        call, *tensors = inputs
        if call.elementwise:
            values = run(call, *(_led(tensor, dim, info.batch_size) for tensor, dim in zip(tensors, in_dims[1:])))
            return values, (0,) * len(values)
        given = [i for i, tensor in enumerate(tensors) if tensor is not None]

        def reference(*present: Tensor) -> tuple[Tensor, ...]:
            return call.reference(*_fill(len(tensors), given, present))

        dims = tuple(in_dims[1 + i] for i in given)
        values = torch.vmap(reference, dims, randomness=info.randomness)(*(tensors[i] for i in given))
        return values, (0,) * len(values)


def _values(call: Call, tensors: Tensors) -> tuple[Tensor, ...]:
    """Return the values, and after them what is kept."""
    values, kept = call.forward(*tensors)
    # a value must be a tensor of its own even where it is an input, as E z = m is
    return *(v.clone() if any(v is t for t in tensors) else v for v in values), *kept


def _keep(ctx: Any, call: Call, tensors: Tensors, output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    values, kept = output[: call.outputs], output[call.outputs :]
    ctx.call, ctx.count = call, len(tensors)
    # values are saved as what they are, so that torch notices a change in place
    ctx.save_for_backward(*tensors, *(values if call.finds_values else ()), *kept)
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)  # zeros of the size of what is kept would be made for nothing
    ctx.values = [(value.shape, value.dtype, value.device) for value in values]


def _pull_back(
    reference: Callable[..., tuple[Tensor, ...]], tensors: Tensors, grads: tuple[Tensor, ...], needs: Sequence[bool]
) -> Tensors:
    """Return the gradients of the reference, themselves differentiable."""
    wanted = [i for i, (tensor, need) in enumerate(zip(tensors, needs)) if need and tensor is not None]

    def of_wanted(*values: Tensor) -> tuple[Tensor, ...]:
        full = list(tensors)
        for i, value in zip(wanted, values):
            full[i] = value
        return reference(*full)

    pull = torch.func.vjp(of_wanted, *(tensors[i] for i in wanted))[1]
    return _fill(len(tensors), wanted, pull(grads))


def _fill(length: int, places: Sequence[int], values: Sequence[Tensor]) -> Tensors:
    """Return ``length`` entries: the values at their places, None elsewhere."""
    at = dict(zip(places, values))
    return tuple(at.get(i) for i in range(length))


def _led(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """Return the tensor with the axis that is mapped over in front, also where it has none."""
    if tensor is None:
        return None
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def batched_by_vmap(tensor: Tensor) -> bool:
    """Return whether a tensor stands for many, as in ``vmap`` and in batched gradients."""
    return is_functorch_wrapped_tensor(tensor) or is_legacy_batchedtensor(tensor)
