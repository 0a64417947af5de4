"""One training step on one process or on several: what the loop asks for, and how `accelerate launch` answers it.

Every process draws the same random numbers and so knows the whole batch, dropout included. It takes its share of the
rows through the net, and gradients are added up. The outcome is that of one process, up to rounding, whatever their
number is; a checkpoint does not tell how many wrote it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gmlayers.experiments.models import Precision


class Part(NamedTuple):
    """Some rows of a batch."""

    rows: slice
    share: float
    """How much of the batch they are."""


class Processes(Protocol):
    """Those who train together, and this one among them."""

    @property
    def rank(self) -> int:
        """The number of this process; the first, 0, writes and prints."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def device(self, wanted: str) -> str:
        """Return the device of this process."""
        ...

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the net with gradients that are means over the processes."""
        ...

    def alone(self, net: nn.Module) -> AbstractContextManager[None]:
        """Return what gradients are kept to oneself in."""
        ...

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        ...

    def joined(self, rows: Tensor, sizes: list[int]) -> Tensor:
        """Return the rows of all processes, one after the other, of which there are so many."""
        ...

    def main_first(self) -> AbstractContextManager[None]:
        """Return what the first process goes through before the others."""
        ...


class One:
    """This process trains alone."""

    rank, count = 0, 1

    def device(self, wanted: str) -> str:
        """Return the device that is wanted."""
        return wanted

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the net."""
        return net

    def alone(self, net: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return what does nothing."""
        return nullcontext()

    def total(self, value: Tensor) -> Tensor:
        """Return the value."""
        return value

    def joined(self, rows: Tensor, sizes: list[int]) -> Tensor:  # noqa: ARG002
        """Return the rows."""
        return rows

    def main_first(self) -> AbstractContextManager[None]:
        """Return what does nothing."""
        return nullcontext()


ALONE = One()


class Launched:
    """A launcher started this process among others: `accelerate launch`, `torchrun`, or whoever sets RANK and so on.

    Args:
        on_cpu: whether to compute on the CPU.

    Raises:
        ValueError: if accelerate is not there, or it was told to shard.
    """

    def __init__(self, *, on_cpu: bool) -> None:
        try:
            from accelerate import Accelerator  # here, because it is slow to import, and few train on many processes
        except ModuleNotFoundError:
            raise ValueError(
                "several processes were launched, and to train together they need accelerate; pip install accelerate"
            ) from None
        for name, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
            if os.environ.get(name, "false").lower() == "true":
                raise ValueError(
                    f"accelerate was told to shard by {what}, but the models of this command are small, and every "
                    f"process has the whole of one; launch without it"
                )
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")  # which the recipe knows
        self.rank, self.count = int(self.accelerator.process_index), int(self.accelerator.num_processes)

    def device(self, wanted: str) -> str:  # noqa: ARG002
        """Return the device that the launcher has given to this process."""
        return str(self.accelerator.device)

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the net with gradients that are means over the processes."""
        return self.accelerator.prepare_model(net) if any(p.requires_grad for p in net.parameters()) else net

    def alone(self, net: nn.Module) -> AbstractContextManager[None]:
        """Return what gradients are kept to oneself in."""
        return self.accelerator.no_sync(net)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        found = self.accelerator.reduce(value, "sum")
        assert isinstance(found, Tensor)
        return found

    def joined(self, rows: Tensor, sizes: list[int]) -> Tensor:
        """Return the rows of all processes, one after the other, of which there are so many."""
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        every = self.accelerator.gather(padded)
        assert isinstance(every, Tensor)
        return torch.cat([part[:size] for part, size in zip(every.split(max(sizes)), sizes)])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the first process go through before the others."""
        with self.accelerator.main_process_first():
            yield


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """Give who trains here: those of a launcher if there is one, or this process alone; all but the first are silent.

    Raises:
        ValueError: if a launcher wants what is not possible.
    """
    by_launcher = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() and os.environ["WORLD_SIZE"] != "1"
    if not by_launcher:
        yield ALONE
        return
    processes = Launched(on_cpu=device.startswith("cpu"))
    with ExitStack() as stack:
        if processes.rank:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield processes
            processes.accelerator.wait_for_everyone()  # who ends first does not cut the others off
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def wanted_precision() -> Precision | None:
    """Return the precision that `accelerate launch` was asked for, or None if it says nothing of it.

    Raises:
        ValueError: if it is not supported.
    """
    name = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if name not in ("no", "bf16"):
        raise ValueError(
            f"accelerate was told to compute in {name}, which needs losses that are scaled; launch with "
            f"--mixed_precision bf16, or no"
        )
    return "bfloat16" if name == "bf16" else None


def parts(rows: int, processes: Processes, steps: int) -> list[Part]:
    """Return the parts of a batch that a process takes, one after the other.

    Args:
        rows: of the batch.
        processes: every one of them takes as many parts, of about as many rows.
        steps: so many parts each; where there are too few rows, a part is one row that does not count.
    """
    count = processes.count * steps
    ends = [rows * i // count for i in range(count + 1)]
    own = list(itertools.pairwise(ends))[processes.rank * steps : (processes.rank + 1) * steps]
    return [Part(slice(low, high) if low < high else slice(0, 1), (high - low) / rows) for low, high in own]
