"""A network taught to answer like another one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gmlayers._arguments import (
    called,
    check_callable,
    check_generator,
    check_inputs,
    check_module,
    got,
    positive_number,
)
from gmlayers._arrays import Array, numbers
from gmlayers._names import whole


def distill(
    student: nn.Module,
    teacher: nn.Module,
    x: Tensor | Array,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 3e-4,
    generator: torch.Generator | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    r"""Train a student to give the outputs of a teacher, by Adam on the squared error at a rate that falls to 0.

    The loss is relative to how far the teacher's answers are from their mean,

    .. math:: \mathbb E\|s(x) - t(x)\|^2 \big/ \mathbb E\|t(x) - \mathbb E\,t\|^2,

    so it is 1 for a constant, and the square of the ``error`` of :func:`mlp_to_gm`. The teacher answers once, in
    evaluation mode. The student is trained in place, in the mode that it is in.

    Args:
        student: what is trained, all its parameters that require a gradient.
        teacher: gives outputs of the same shape. It is left as it is.
        x: inputs, along the first axis; at least one. A tensor is given to both as it is; arrays of numpy and pandas
            and lists of numbers take the dtype and device of the student.
        epochs: passes over them.
        batch_size: inputs in a step.
        lr: rate of the first step; it falls linearly. Too high a rate undoes a good start before it mends it.
        generator: source of the order of the inputs, on the CPU; torch's global one by default.
        progress: called after every epoch with its number, from 1, and its mean loss.

    Returns:
        The mean loss of every epoch.

    Raises:
        TypeError: for numbers of epochs or inputs that are not whole.
        ValueError: for numbers out of range, outputs that differ in shape, nothing to train, a loss that is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gmlayers import convert
        >>> net = nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 2))
        >>> fit = convert.mlp_to_gm(net[0], net[2], 5)
        >>> first, *_, last = convert.distill(fit.module, net, torch.randn(500, 4), epochs=20)
        >>> last < first
        True
    """
    check_module("distill: student", student)
    check_module("distill: teacher", teacher)
    check_callable("distill: progress", progress, optional=True, takes=2)
    check_generator("distill: generator", generator, "cpu")
    x = x if isinstance(x, Tensor) else numbers("distill: x", x, like=next(student.parameters(), None))
    check_inputs("distill: x", x)
    epochs, batch_size = whole("distill: epochs", epochs), whole("distill: batch_size", batch_size)
    if epochs < 0 or batch_size < 1:
        raise ValueError(
            f"distill: expected epochs of at least 0, and a batch_size of at least 1, "
            f"got epochs={epochs} and batch_size={batch_size}"
        )
    lr = positive_number("distill: lr", lr)
    target = _answers(teacher, x, batch_size)
    if not bool(target.isfinite().all()):
        raise ValueError("distill: the teacher gives outputs for x that are not finite; leave those rows out")
    if len(target) != len(x):
        raise ValueError(f"distill: the teacher must give an output for each row of x, got {len(target)} for {len(x)}")
    spread = float((target - target.mean(0)).square().sum() / len(x)) or 1.0
    if not math.isfinite(spread):
        raise ValueError("distill: the teacher gives outputs for x that are too large to square; scale them")
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("distill: the student has no parameter that requires a gradient")
    optimizer = torch.optim.Adam(trained, lr)
    steps = epochs * math.ceil(len(x) / batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / max(1, steps), steps)
    losses: list[float] = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).to(x.device).split(batch_size):
            output = called("distill", "the student on x", student, x[rows])
            if not isinstance(output, Tensor):
                raise TypeError(f"distill: the student must give a tensor, got {got(output)}")
            if output.shape != target[rows].shape:
                raise ValueError(
                    f"distill: the student gives outputs of shape {tuple(output.shape)}, the teacher of shape "
                    f"{tuple(target[rows].shape)}"
                )
            loss = (output - target[rows]).square().sum() / (len(rows) * spread)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows) / len(x)
        if not math.isfinite(total):
            raise ValueError(f"distill: the loss is {total} in epoch {epoch}; try an lr below {lr}, or scale x")
        losses.append(total)
        if progress is not None:
            progress(epoch, total)
    return losses


@torch.no_grad()
def _answers(teacher: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """Return the outputs of a teacher in evaluation mode, without gradients."""
    modes = [(module, module.training) for module in teacher.modules()]
    teacher.eval()
    try:
        answers = [called("distill", "the teacher on x", teacher, batch) for batch in x.split(batch_size)]
    finally:
        for module, training in modes:
            module.training = training
    found = [answer for answer in answers if isinstance(answer, Tensor)]
    if len(found) < len(answers):
        raise TypeError(f"distill: the teacher must give tensors, got {got(answers[0])}")
    return torch.cat(found)
