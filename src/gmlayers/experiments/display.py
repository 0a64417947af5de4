"""What the commands show: live progress and tables."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gmlayers.experiments.text import visible


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation (nan for one value, or where one is not finite)."""
    several = len(values) > 1 and all(map(math.isfinite, values))
    return statistics.fmean(values), statistics.stdev(values) if several else math.nan


def shown(values: Sequence[float], *, percent: bool) -> str:
    """Return ``mean ± std``, the std only where there are several values."""
    mean, std = mean_and_std(values)
    scale, unit = (100, " %") if percent else (1, "")
    spread = "" if math.isnan(std) else f" ± {scale * std:.2g}" if not percent else f" ± {scale * std:.2f}"
    return (f"{scale * mean:.2f}" if percent else f"{mean:.4g}") + spread + unit


def output() -> Console:
    """Return standard output; wide enough for tables where it is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


class Live:
    """A bar per trial on a terminal; where the output goes to a file, some lines instead.

    With ``many`` trials there are bars of those under way and one of all; what is finished stays as a line.
    """

    def __init__(self, console: Console, progress: Progress, lines: int, *, many: bool) -> None:
        self.console = console
        self.progress = progress
        self.lines = lines
        self.all = progress.add_task("all trials", total=0, figure="") if many else None

    def bar(self, title: str, metric: str, done: int, epochs: int) -> Callable[[dict[str, Any]], None]:
        """Start the bar of one trial; return what shows a line of its metrics."""

        def figure(row: dict[str, Any]) -> str:
            value = shown([row[metric]], percent=metric.endswith("error"))
            return f"loss {row['train_loss']:.4f}  {metric.replace('_', ' ')} {value}"

        return self._bar(title, "epoch", done, epochs, figure)

    def loss(self, title: str, steps: int) -> Callable[[dict[str, Any]], None]:
        """Start the bar of one trial that is judged at its last step alone; return what shows a line of its metrics."""
        return self._bar(title, "epoch", 0, steps, lambda row: f"loss {row['train_loss']:.4f}", unit="step")

    def clock(self, title: str, seconds: float) -> Callable[[dict[str, Any]], None]:
        """Start the bar of a trial that ends when its seconds have passed, or before; return what shows its lines."""
        return self._bar(title, "seconds", 0, seconds, lambda row: f"error {row.get('error', row['held_out']):.2e}")

    def steps(self, title: str, total: int) -> Callable[[str], None]:
        """Start the bar of what is done in so many steps; return what says which one begins."""
        task = self.progress.add_task(escape(visible(title)), total=total, figure="")
        begun = 0

        def begin(what: str) -> None:
            nonlocal begun
            self.progress.update(task, completed=begun, figure=escape(visible(what)))
            begun += 1
            if not self.console.is_terminal:
                self.console.print(f"{title}  {begun}/{total}  {visible(what)}", soft_wrap=True, markup=False)

        return begin

    def _bar(
        self,
        title: str,
        key: str,
        done: float,
        total: float,
        figure: Callable[[dict[str, Any]], str],
        unit: str | None = None,
    ) -> Callable[[dict[str, Any]], None]:
        """Start a bar that goes as far as what rows have by the key; a unit is what that is called, if otherwise."""
        title, unit = visible(title), unit or key
        task = self.progress.add_task(escape(title), total=total, figure="", visible=self.all is None)
        self.progress.update(task, completed=done)
        every = max(1, total // self.lines)
        at = done
        if self.all is not None:
            self.progress.update(self.all, total=(self.progress.tasks[self.all].total or 0) + total - done)

        def show(row: dict[str, Any]) -> None:
            nonlocal at
            last = row.get("last", row[key] >= total)
            before, at = at, total if last else min(row[key], total)
            self.progress.update(task, completed=at, figure=figure(row))
            if self.all is not None:
                self.progress.update(self.all, advance=at - before)
                self.progress.update(task, visible=not last)
            on_terminal = self.console.is_terminal
            if (last and self.all is not None) or (not on_terminal and (last or at // every > before // every)):
                self.console.print(
                    f"{title}  {unit} {row[key]:.4g}/{total:g}  {figure(row)}", soft_wrap=True, markup=False
                )

        return show


@contextmanager
def live(lines: int = 10, *, many: bool = False) -> Iterator[Live]:
    """Show progress on standard error while the block runs; without a terminal as about that many lines a trial."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figure]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Live(console, progress, lines, many=many)


def say(text: str) -> None:
    """Print lines of text as they are, but for control characters."""
    for line in text.split("\n"):
        output().print(visible(line), soft_wrap=True, highlight=False, markup=False)


def note(text: str) -> None:
    """Give a note, which the command line prints to standard error, since what is asked for may go to the other."""
    warnings.warn(text, stacklevel=2)


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Print a table under its title; the first ``left`` columns are aligned to the left, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for index, name in enumerate(header):
        text = 0 < index < left  # may be folded; names and numbers may not
        table.add_column(name, justify="left" if index < left else "right", no_wrap=not text)
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))  # brackets are no mark-up
    console = output()
    console.print(visible(title), style="bold", soft_wrap=True, markup=False)
    console.print(table)


def print_findings(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], claim: str, found: Iterable[str], where: str
) -> None:
    """Print what an experiment has found: a table, the claim, a line for each sentence, and where the figure is."""
    print_table(title, header, rows)
    for line in (claim, *(f"  {sentence}" for sentence in found)):
        say(line.replace("**", ""))
    say(f"{where}\n")
