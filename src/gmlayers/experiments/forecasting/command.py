"""``gmlayers forecast``: from a table with dates to forecasts with intervals, a picture, and scores."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tyro.conf import Positional, arg

from gmlayers import GMFeedForward, MixtureHead, parameter_groups
from gmlayers._names import look_up
from gmlayers.experiments import display, plots
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.forecasting.models import Forecaster, Window, repeated
from gmlayers.experiments.forecasting.scores import (
    LEVEL,
    calibrated_level,
    coverage,
    depths,
    errors,
)
from gmlayers.experiments.forecasting.series import Series, read_table
from gmlayers.nn import NormalMixture

BATCH, RATE, WARM = 32, 3e-3, 0.1
SHARES = 0.7, 0.8
"""A forecaster learns from the first share of the rows, calibrates up to the second, and is scored on what is left."""

LAST = 0.9
"""The forecaster of what is to come learns from this share of the rows, and calibrates on the rest."""

MOST_WINDOWS = 400
"""Intervals are calibrated and judged by about so many windows."""

SHOWN = 3
"""The picture shows so many horizons of what was before."""


class Sizes(NamedTuple):
    """How far is read and forecast."""

    look_back: int
    horizon: int


class Mixtures(torch.nn.Module):
    """A mixture for every step, whose features have a GM block beside them."""

    def __init__(self, inputs: int, outputs: int, components: int) -> None:
        super().__init__()
        self.block = GMFeedForward(inputs, max(4, inputs // 2))
        self.head = MixtureHead(inputs, outputs, components)

    def forward(self, x: Tensor) -> NormalMixture:
        """Return the mixtures."""
        return self.head(x + self.block(x))


def forecaster(look_back: int, horizon: int, components: int) -> Forecaster:
    """Return a forecaster that has not been trained."""
    return Forecaster(Window(), Mixtures(look_back, horizon, components), horizon, "mean")


def fit(net: Forecaster, series: Series, look_back: int, steps: int, show: Callable[[dict[str, Any]], None]) -> None:
    """Train a forecaster on the training windows of series, by likelihood."""
    optimizer = torch.optim.AdamW(parameter_groups(net, weight_decay=0.0), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=WARM, cycle_momentum=False
    )
    starts, order = series.windows(0, look_back, net.horizon), list[Tensor]()
    net.train()
    for step in range(1, steps + 1):
        if not order:
            order.extend(starts[torch.randperm(len(starts))].split(BATCH))
        x, y = series.read(order.pop(), look_back, net.horizon)
        answer = net(x)
        assert isinstance(answer, NormalMixture)
        loss = -answer.log_prob(y).mean()
        if not bool(loss.isfinite()):
            raise ValueError(
                f"training met a loss of {loss.item()} at step {step}; are there values far from all others?"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps:
            show({"epoch": step, "train_loss": float(loss.detach())})
    net.eval()


class Learned(NamedTuple):
    """A forecaster, and the level of its intervals that held what they should on rows that it did not learn from."""

    net: Forecaster
    level: float


def learn(series: Series, sizes: Sizes, steps: int, components: int, show: Callable[[dict[str, Any]], None]) -> Learned:
    """Train a forecaster on the first part of series, and calibrate it on the second."""
    net = forecaster(sizes.look_back, sizes.horizon, components)
    fit(net, series, sizes.look_back, steps, show)
    return Learned(net, min(calibrated_level(_depths(net, series, 1, sizes)), 1 - 1e-6))


def check_rows(rows: int, sizes: Sizes) -> None:
    """Raise ``ValueError`` if there are too few rows to learn from, to calibrate on and to be scored by."""
    learned = math.ceil((sizes.look_back + 2 * sizes.horizon) / SHARES[0])
    needed = max(learned, math.ceil((sizes.horizon + 1) / (SHARES[1] - SHARES[0])) + 1)
    if rows < needed:
        raise ValueError(
            f"the table has {rows:,} rows, and at least {needed:,} are needed to look back {sizes.look_back} and "
            f"forecast {sizes.horizon} steps with a score; give a smaller --horizon or --look-back"
        )


def forecast(
    source: Annotated[Path, Positional, arg(metavar="FILE")],
    *,
    target: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    horizon: int = 24,
    look_back: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    date: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    season: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    steps: int = 800,
    components: int = 3,
    seed: int = 0,
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
) -> None:
    """Forecast series with intervals, from a table with a column of dates.

    All columns of numbers are learned together, each by itself with the same parameters: a linear map of a normed
    window with a GM block beside it answers with a mixture of normal distributions for every step. Intervals of 80 %
    are calibrated on rows that were held out.

    First it is scored: it learns from the first 70 % of the rows, calibrates on the next 10 %, and forecasts the last
    20 %, beside the last value and the last season. Then it learns from 90 %, calibrates on the rest, and forecasts
    what comes after the table.

    The folder holds forecast.csv, forecast.png and scores.json.

    For example:

    gmlayers forecast ETTh1.csv --target OT --horizon 96

    gmlayers forecast sales.csv --horizon 28 --look-back 112 --date day

    Args:
        source: A CSV file with a column of dates and columns of numbers.
        target: The series to show and to write; all of them by default.
        horizon: How many steps to forecast.
        look_back: How many steps to read; by default twice the horizon, and at least two seasons, as far as the table
            allows.
        date: The column of dates; by default the first that can be read so.
        season: Steps in a season; by default a day of hours, a week of days, a year of months.
        steps: Steps of training, twice.
        components: Components of the mixture of a step.
        seed: Seed of all that is drawn.
        out: The folder to write to; by default runs/forecast-FILE. Files in it are replaced.
    """
    for name, number in (("--horizon", horizon), ("--steps", steps), ("--components", components)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    for name, given in (("--look-back", look_back), ("--season", season)):
        if given is not None and given < 1:
            raise ValueError(f"{name} must be at least 1, got {given}")
    table = read_table(source, date)
    for text in table.notes:
        display.note(text)
    names = [str(name) for name in table.values]
    wanted = names if target is None else [look_up("column of numbers", target, {name: name for name in names})]
    season, rows = table.season if season is None else season, len(table.values)
    if season > SHARES[1] * rows:
        raise ValueError(f"--season must be at most {int(SHARES[1] * rows):,} for {rows:,} rows, got {season:,}")
    most = max(1, int(SHARES[0] * rows / 2) - 2 * horizon)
    look_back = min(max(2 * horizon, 2 * season), most) if look_back is None else look_back
    sizes = Sizes(look_back, horizon)
    check_rows(rows, sizes)
    folder = Path("runs") / f"forecast-{source.stem}" if out is None else out
    torch.manual_seed(seed)
    with display.live() as live:
        tested = Series.of(table.values, (round(SHARES[0] * rows), round(SHARES[1] * rows), rows))
        known = learn(tested, sizes, steps, components, live.loss("learning from 70 % of the rows", steps))
        scores = _scores(known, tested, sizes, season)
        whole = Series.of(table.values, (round(LAST * rows), rows, rows))
        known = learn(whole, sizes, steps, components, live.loss("learning from 90 % of the rows", steps))
    found = _forecast(known, whole, look_back)
    _write(folder, found, wanted, scores, draw(table.values, found, wanted[:4], horizon))
    _report(scores, source, folder)


def _write(
    folder: Path, found: pd.DataFrame, wanted: list[str], scores: dict[str, dict[str, float]], figure: Figure
) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    folder.mkdir(parents=True, exist_ok=True)
    rows = found.loc[np.isin(np.asarray(found["series"]), wanted)]
    write_whole(folder / "forecast.csv", rows.to_csv(index=False).encode())
    write_whole(folder / "scores.json", (json.dumps(scores, indent=2) + "\n").encode())
    write_whole(folder / "forecast.png", picture.getvalue())


def _depths(net: Forecaster, series: Series, part: int, sizes: Sizes) -> Tensor:
    """Return the depths of what came in some hundred windows of a part."""
    every = max(1, (series.ends[part] - series.ends[part - 1]) // MOST_WINDOWS)
    return depths(net, series.batches(part, *sizes, every=every))


def _scores(known: Learned, series: Series, sizes: Sizes, season: int) -> dict[str, dict[str, float]]:
    """Return the errors of three forecasts on the last rows, in standard deviations, and what intervals hold."""
    held = _depths(known.net, series, 2, sizes)
    scores = {"gmlayers": dict(errors(known.net, series.batches(2, *sizes))._asdict())}
    scores["gmlayers"] |= {"coverage": coverage(held), "calibrated": coverage(held, known.level)}
    for name, period in (("last value", 1), ("last season", season)):
        windows = series.batches(2, max(sizes.look_back, period), sizes.horizon)
        naive = errors(lambda x, period=period: repeated(x, sizes.horizon, period), windows)
        scores[name] = dict(naive._asdict())
    return scores


@torch.no_grad()
def _forecast(known: Learned, series: Series, look_back: int) -> pd.DataFrame:
    """Return what comes after the last row: a row for every series and time, in the units of the table."""
    answer = known.net(series.values[-look_back:].T.unsqueeze(0))
    assert isinstance(answer, NormalMixture)
    shares = {"low": (1 - known.level) / 2, "median": 0.5, "high": (1 + known.level) / 2}
    columns = {name: answer.icdf(torch.tensor(share)) for name, share in shares.items()} | {"mean": answer.mean}
    step = series.times.freq
    times = pd.date_range(series.times[-1], periods=known.net.horizon + 1, freq=step)[1:]
    parts = []
    for i, name in enumerate(series.names):
        values = {
            key: (value[0, i].double() * series.std[i] + series.mean[i]).numpy() for key, value in columns.items()
        }
        parts.append(pd.DataFrame({"date": times, "series": name, **values}))
    return pd.concat(parts, ignore_index=True)


def draw(values: pd.DataFrame, found: pd.DataFrame, names: list[str], horizon: int) -> Figure:
    """Return a picture of what was before, and of forecasts with their intervals."""
    figure = Figure(figsize=(8, 2.4 * len(names)), layout="constrained")
    for axis, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names):
        before, rows = values.iloc[-SHOWN * horizon :], found.loc[found["series"] == name]
        axis.plot(before.index.to_numpy(), before[name].to_numpy(), color="0.3", linewidth=1, label="what was")
        dates, low, high, median = (np.asarray(rows[key]) for key in ("date", "low", "high", "median"))
        share = f"{100 * LEVEL:.0f} %"
        axis.fill_between(dates, low, high, color=plots.COLOURS[1], alpha=0.4, linewidth=0, label=share)
        axis.plot(dates, median, color=plots.COLOURS[0], label="median")
        axis.set_title(name.replace("$", r"\$"), loc="left", fontsize=10)
        axis.grid(alpha=0.25)
        axis.tick_params(axis="x", labelsize=8)
    figure.axes[0].legend(loc="upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def _report(scores: dict[str, dict[str, float]], source: Path, folder: Path) -> None:
    rows = [
        [
            name,
            f"{own['mse']:.3f}",
            f"{own['mae']:.3f}",
            *(f"{100 * own[k]:.0f} %" if k in own else "" for k in ("coverage", "calibrated")),
        ]
        for name, own in scores.items()
    ]
    header = ["forecast", "squared error", "absolute error", f"in {100 * LEVEL:.0f} %", "calibrated"]
    display.print_table(f"{source}: the last fifth of the rows, in standard deviations of each series", header, rows)
    best = min(scores, key=lambda name: scores[name]["mse"])
    if best != "gmlayers":
        display.say(f"The {best} does better here: take that, or more data, another --look-back or more --steps.")
    display.say(
        f"{folder}/forecast.csv has the forecasts, with intervals of {100 * LEVEL:.0f} %; forecast.png shows them."
    )
