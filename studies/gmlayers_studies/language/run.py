"""A block that takes part: its models are trained at some rates, of which validation chooses, and then with seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from gmlayers import parameter_groups
from gmlayers.experiments.display import Live
from gmlayers.experiments.records import Metrics
from gmlayers.experiments.schema import checked
from gmlayers_studies.language.corpus import corpus, draw, windows
from gmlayers_studies.language.model import ByteModel, bits, in_blocks
from gmlayers_studies.plan import CHOICE_SEED
from gmlayers_studies.records import METRICS, Records, Row, setting_name
from gmlayers_studies.study import Profile, Steps, Study, slug

BATCH, LENGTH, EVERY = 16, 128, 50
"""A step reads so many windows of so many bytes, and a line is written after so many steps."""

JUDGED = 400
"""The bits a byte are those of so many windows."""

DECAY = 0.1
"""Weights have this decay, and biases and stds none."""

WARM = 0.1
"""The rate rises in this share of the steps, and then falls to 0 as a cosine."""


@dataclass(frozen=True)
class Width:
    """A task: to predict bytes with a model of this width."""

    width: int


@dataclass(frozen=True)
class Entry:
    """A block in a model of some width; what stands in the config.json of its folder."""

    study: str
    task: str
    width: int
    block: str
    steps: int
    rates: tuple[float, ...]
    """One of these is chosen by validation."""
    seeds: tuple[int, ...]
    text: str
    """The fingerprint of the corpus."""


@dataclass(frozen=True)
class BlockEntrant:
    """A block by its name, and the rates among which is chosen."""

    label: str
    rates: tuple[float, ...]

    def runs(self, study: Study, task: str, what: Width, profile: Profile) -> Iterator[BlockRun]:
        """Yield its runs on a task, one for each number of steps."""
        seeds, sizes = profile.of(self.label)
        for size in sizes:
            assert isinstance(size, Steps)
            text = corpus().fingerprint
            yield BlockRun(Entry(study.name, task, what.width, self.label, size.steps, self.rates, seeds, text))

    def read(self, study: Study, place: str, content: Row) -> BlockRun | None:
        """Return the run that was configured at a place, or None if it is not one of this block in this study."""
        if not place.startswith(f"{study.name}/"):
            return None
        advice = "its config.json is damaged or of another version; start anew in another --out"
        run = BlockRun(checked(Entry, content, Path(place), advice=advice))
        return run if run.label == self.label and run.place == place else None


@dataclass(frozen=True)
class BlockRun:
    """A block in a model of some width; a :class:`~gmlayers_studies.study.Run`."""

    entry: Entry
    is_pictured: bool = field(default=False, init=False, compare=False)

    @property
    def place(self) -> str:
        """The folder of the run, below that of all records."""
        entry = self.entry
        return f"{entry.study}/{slug(entry.task, '')}/{slug(entry.block.replace(',', ''), '')}/{entry.steps}-steps"

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
        """The numbers of the rates."""
        return range(len(self.entry.rates)) if len(self.entry.rates) > 1 else ()

    @property
    def title(self) -> str:
        """What stands before the progress of its trials."""
        return f"{self.entry.task}, {self.label}"

    @property
    def rank(self) -> tuple[float, ...]:
        """The steps, and the width: small models go first."""
        return self.entry.steps, self.entry.width

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

    def choice(self, records: Records) -> int | None:
        """Return the rate with the fewest bits a byte on the validation files; None if trials are missing."""
        if not self.settings:
            return 0
        tried = [records.rows(self.place, setting_name(i), warn=False) for i in self.settings]
        if not all(map(self.is_finished, tried)):
            return None
        found = [rows[-1]["bits"] for rows in tried]
        return found.index(min(found))

    def bar(self, live: Live, trial: str) -> Callable[[Row], None]:
        """Start the bar of a trial; return what shows a row of it."""
        return live.bar(f"{self.title} {trial.replace('-', ' ')}", "bits", 0, self.entry.steps)

    def perform(self, own: Path, setting: int, seed: int) -> None:
        """Train a model in this process, from its beginning; validate or test it once, at the last step."""
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        entry, text = self.entry, corpus()
        if entry.text != text.fingerprint:
            raise ValueError("the standard library of this Python is not that of the records; choose another --out")
        path = own / f"{METRICS}.jsonl"
        path.unlink(missing_ok=True)
        metrics, batches = Metrics(path), torch.Generator().manual_seed(seed)
        model = ByteModel(entry.width, LENGTH, entry.block)
        rate = entry.rates[setting]
        optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=DECAY), lr=rate, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=entry.steps, pct_start=WARM, cycle_momentum=False
        )
        begun, total = time.process_time(), 0.0
        for step in range(1, entry.steps + 1):
            loss = model.loss(draw(text.train, LENGTH, BATCH, batches))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            if step % EVERY == 0 and step < entry.steps:
                metrics.append(_line(step, setting, total / EVERY))
                total = 0.0
        seconds = time.process_time() - begun
        judged = text.validation if seed == CHOICE_SEED else text.test
        found = {"bits": bits(model, windows(judged, LENGTH, JUDGED)), "parameters": in_blocks(model)}
        last = _line(entry.steps, setting, total / ((entry.steps - 1) % EVERY + 1))
        metrics.append(last | found | {"step_seconds": seconds / entry.steps, "last": True})


def _line(step: int, setting: int, loss: float) -> Row:
    """Return what a line of metrics says while a model is trained."""
    return {"epoch": step, "setting": setting, "train_loss": loss, "bits": loss}
