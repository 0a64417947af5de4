"""A block that takes part: its models are trained at some rates, of which validation chooses, and then with seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gmlayers import parameter_groups
from gmlayers.experiments.display import Live
from gmlayers.experiments.records import Metrics
from gmlayers.experiments.schema import checked
from gmlayers_studies.plan import CHOICE_SEED
from gmlayers_studies.records import METRICS, Records, Row, setting_name
from gmlayers_studies.study import Profile, Steps, Study, slug

EVERY = 50
"""A line is written after so many steps."""

WARM = 0.1
"""The rate rises in this share of the steps, and then falls to 0 as a cosine."""


class Learner(NamedTuple):
    """A model that has not been trained."""

    model: nn.Module
    places: Sequence[nn.Module]
    """The blocks in it."""
    loss: Callable[[], Tensor]
    """Draws a batch and returns its loss."""
    judge: Callable[[], Row]
    """Returns what the trained model is judged by: its measure, and what else is told of it."""


class Host(Protocol):
    """A kind of model with places for blocks, and what it learns."""

    @property
    def source(self) -> str:
        """What it learns from, in words."""
        ...

    @property
    def measure(self) -> str:
        """The key of what is judged in the last line of a trial; less is better."""
        ...

    @property
    def decay(self) -> float:
        """The decay of weights; biases and stds have none."""
        ...

    @property
    def shared(self) -> str:
        """Tasks of one name share the choice of rates, that of the first of them in a profile."""
        ...

    @property
    def row(self) -> str:
        """The figure shows tasks of one name side by side."""
        ...

    @property
    def order(self) -> float:
        """Hosts of less go first."""
        ...

    @property
    def blocks(self) -> Mapping[str, Callable[[int], nn.Module]]:
        """What can stand in its places, by name."""
        ...

    def fingerprint(self) -> str:
        """Return what tells what it learns from something else."""
        ...

    def begin(self, block: str, seed: int, *, choosing: bool) -> Learner:
        """Return a new model with a block in all its places.

        Args:
            block: one of :attr:`blocks`.
            seed: decides the order of what it sees; its parameters are drawn by torch's own generator.
            choosing: whether it is judged by what is held out of what may be trained on, and not by the test.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """A block in a host; what stands in the config.json of its folder."""

    study: str
    task: str
    block: str
    steps: int
    rates: tuple[float, ...]
    """One of these is chosen by validation."""
    chosen_on: str
    """The task on which it is."""
    seeds: tuple[int, ...]
    data: str
    """The fingerprint of what is learned."""


@dataclass(frozen=True)
class BlockEntrant:
    """A block by its name, and the rates among which is chosen."""

    label: str
    rates: tuple[float, ...]
    host: Callable[[str], Host]
    """Returns the host of a task."""

    def runs(self, study: Study, task: str, what: Host, profile: Profile) -> Iterator[BlockRun]:
        """Yield its runs on a task, one for each number of steps, if it can stand in the host."""
        if self.label not in what.blocks:
            return
        seeds, sizes = profile.of(self.label)
        chosen_on = next((name for name in profile.tasks if self.host(name).shared == what.shared), task)
        for size in sizes:
            assert isinstance(size, Steps)
            entry = (study.name, task, self.label, size.steps, self.rates, chosen_on, seeds, what.fingerprint())
            yield BlockRun(Entry(*entry), what)

    def read(self, study: Study, place: str, content: Row) -> BlockRun | None:
        """Return the run that was configured at a place, or None if it is not one of this block in this study."""
        if not place.startswith(f"{study.name}/"):
            return None
        advice = "its config.json is damaged or of another version; start anew in another --out"
        entry = checked(Entry, content, Path(place), advice=advice)
        run = BlockRun(entry, self.host(entry.task))
        return run if run.label == self.label and run.place == place else None


@dataclass(frozen=True)
class BlockRun:
    """A block in a host; a :class:`~gmlayers_studies.study.Run`."""

    entry: Entry
    host: Host = field(compare=False)
    is_pictured: bool = field(default=False, init=False, compare=False)

    @property
    def place(self) -> str:
        """The folder of the run, below that of all records; its name in archives, too."""
        return self._place(self.entry.task)

    def _place(self, task: str) -> str:
        entry = self.entry
        block = slug(entry.block.replace(",", ""), "")
        return f"{entry.study}/{slug(task.replace(',', ''), '-')}/{block}/{entry.steps}-steps"

    @property
    def label(self) -> str:
        """The name of the block."""
        return self.entry.block

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the trials that count."""
        return self.entry.seeds

    @property
    def settings(self) -> Sequence[int]:
        """The numbers of the rates, if they are tried on this task."""
        return range(len(self.entry.rates)) if self.entry.task == self.entry.chosen_on else ()

    @property
    def title(self) -> str:
        """What stands before the progress of its trials."""
        return f"{self.entry.task}, {self.label}"

    @property
    def rank(self) -> tuple[float, ...]:
        """Small hosts go first."""
        return self.host.order, self.entry.steps

    @property
    def about(self) -> Row:
        """What a reader of the table of trials wants to know of the run."""
        return {"task": self.entry.task, "block": self.label}

    def config(self) -> Row:
        """Return what stands in its config.json."""
        return asdict(self.entry)

    def is_finished(self, rows: Sequence[Row]) -> bool:
        """Return whether the rows of a trial go to its end."""
        return bool(rows) and rows[-1]["epoch"] >= self.entry.steps

    def condense(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what an archive keeps: the loss has five digits."""
        return [row | {"train_loss": float(f"{row['train_loss']:.5g}")} for row in rows]

    def tried(self, records: Records) -> list[float] | None:
        """Return what each rate came to on the rows that are for choosing; None if trials are missing."""
        place = self._place(self.entry.chosen_on)
        tried = [records.rows(place, setting_name(i), warn=False) for i in range(len(self.entry.rates))]
        if not all(map(self.is_finished, tried)):
            return None
        found = (rows[-1][self.host.measure] for rows in tried)
        return [math.inf if math.isnan(value) else value for value in found]  # what came to nothing is not chosen

    def choice(self, records: Records) -> int | None:
        """Return the best rate on the rows that are for choosing; None if trials are missing."""
        found = self.tried(records)
        return None if found is None else found.index(min(found))

    def bar(self, live: Live, trial: str) -> Callable[[Row], None]:
        """Start the bar of a trial; return what shows a row of it."""
        return live.loss(f"{self.title} {trial.replace('-', ' ')}", self.entry.steps)

    def perform(self, own: Path, setting: int, seed: int) -> None:
        """Train a model in this process, from its beginning; validate or test it once, at the last step."""
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        entry, host = self.entry, self.host
        if entry.data != host.fingerprint():
            raise ValueError(f"{host.source} is not that of the records; choose another --out")
        path = own / f"{METRICS}.jsonl"
        path.unlink(missing_ok=True)
        metrics, learner = Metrics(path), host.begin(entry.block, seed, choosing=seed == CHOICE_SEED)
        model, rate = learner.model, entry.rates[setting]
        optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=host.decay), lr=rate, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=entry.steps, pct_start=WARM, cycle_momentum=False
        )
        begun, total = time.process_time(), 0.0
        for step in range(1, entry.steps + 1):
            loss = learner.loss()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            if step % EVERY == 0 and step < entry.steps:
                metrics.append({"epoch": step, "setting": setting, "train_loss": total / EVERY})
                total = 0.0
        seconds = time.process_time() - begun
        last: Row = {"epoch": entry.steps, "setting": setting, "train_loss": total / ((entry.steps - 1) % EVERY + 1)}
        cost = {"parameters": size(learner.places), "step_seconds": seconds / entry.steps, "kept": kept(learner)}
        metrics.append(last | learner.judge() | cost | {"last": True})


def batches(rows: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Yield rows in one random order after another, so many at once; the few that an order leaves over come first."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from reversed(rows[torch.randperm(len(rows), generator=generator)].split(size))


def size(places: Sequence[nn.Module]) -> int:
    """Return the number of parameters in blocks."""
    return sum(p.numel() for block in places for p in block.parameters())


def kept(learner: Learner) -> int:
    """Return how many bytes a step keeps for its backward pass, beside the parameters."""
    own = {p.data_ptr() for p in learner.model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = learner.loss()  # holds on to them, so that no two have one address
    del loss
    return sum(storages.values())
