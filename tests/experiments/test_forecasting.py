"""Forecasting: tables as people have them, models by their formulas, scores, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from gmlayers import MixtureHead
from gmlayers.cli import main
from gmlayers.experiments.forecasting.models import (
    DLinear,
    Forecaster,
    Patches,
    Recurrent,
    Segments,
    Window,
    repeated,
)
from gmlayers.experiments.forecasting.scores import (
    calibrated_level,
    coverage,
    depths,
    errors,
    mean_pinball,
    pinball,
)
from gmlayers.experiments.forecasting.series import Series, read_table
from gmlayers.nn import NormalMixture


def table(rows: int = 400, freq: str = "h") -> pd.DataFrame:
    hours = np.arange(rows)[:, None]
    noise = np.random.default_rng(0).normal(size=(rows, 2))
    values = 10 + 3 * np.sin(2 * np.pi * hours / 24 + np.arange(2)) + 0.3 * noise
    return pd.DataFrame(values, columns=["load", "heat"], index=pd.date_range("2020-01-01", periods=rows, freq=freq))


def written(folder: Path, frame: pd.DataFrame, **how: object) -> Path:
    path = folder / "series.csv"
    frame.rename_axis("when").to_csv(path, **how)  # type: ignore[call-overload]
    return path


def test_a_table_is_read_as_it_is(tmp_path: Path) -> None:
    frame = table()
    found = read_table(written(tmp_path, frame))
    np.testing.assert_allclose(found.values.to_numpy(), frame.to_numpy())
    assert found.season == 24
    assert found.notes[0].endswith("400 rows; 'when' has the dates, 2020-01-01 00:00:00 to 2020-01-17 15:00:00")
    assert found.notes[1] == "a step is h"


@pytest.mark.parametrize(
    ("freq", "season"), [("h", 24), ("15min", 96), ("30min", 48), ("D", 7), ("W", 52), ("MS", 12), ("QS", 4), ("7h", 1)]
)
def test_a_season_follows_from_the_step(tmp_path: Path, freq: str, season: int) -> None:
    assert read_table(written(tmp_path, table(40, freq))).season == season


def test_what_is_missing_is_filled_in_and_said(tmp_path: Path) -> None:
    frame = table().drop(pd.Timestamp("2020-01-02 05:00"))
    frame.iloc[7, 0] = np.nan
    frame = frame.sample(frac=1, random_state=0)
    frame["name"], frame["empty"] = "x", np.nan
    found = read_table(written(tmp_path, frame, sep=";"))
    assert list(found.values) == ["load", "heat"]
    assert len(found.values) == 400
    assert found.values.notna().all().all()
    assert found.values.loc["2020-01-02 05:00", "heat"] == pytest.approx(
        (found.values.loc["2020-01-02 04:00", "heat"] + found.values.loc["2020-01-02 06:00", "heat"]) / 2
    )
    assert found.notes[1:] == (
        "left out, as they do not hold numbers alone: name, empty",
        "rows were put in the order of their dates",
        "a step is 0 days 01:00:00; 1 times were missing",
        "3 missing values were filled in between their neighbours",
    )


def test_dates_are_found_in_other_columns_and_forms(tmp_path: Path) -> None:
    frame = table(60, "D").reset_index(names="day")
    frame["day"] = frame["day"].dt.strftime("%d %B %Y")
    frame = frame[["load", "day", "heat"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert read_table(tmp_path / "t.csv").season == 7
    assert read_table(tmp_path / "t.csv", "day").values.index[1] == pd.Timestamp("2020-01-02")


def spoilt(folder: Path, how: str) -> Path:
    """Write a file that cannot be used."""
    frame, path = table(), folder / "bad.csv"
    if how == "bytes":
        path.write_bytes(bytes(range(256)) * 20)
    elif how == "text":
        path.write_text("once upon a time\n")
    elif how == "no dates":
        frame.reset_index(drop=True).to_csv(path, index=False)
    elif how == "no numbers":
        frame.astype(str).add(" kW").rename_axis("when").to_csv(path)
    elif how == "bad date":
        frame.index = pd.Index([*map(str, frame.index[:-1]), "yesterday"])
        frame.rename_axis("when").to_csv(path)
    elif how == "twice":
        pd.concat([frame, frame.iloc[5:7]]).rename_axis("when").to_csv(path)
    elif how == "no step":
        frame.index = frame.index + pd.to_timedelta(np.random.default_rng(0).integers(0, 60, 400), unit="min")
        frame.rename_axis("when").to_csv(path)
    elif how == "missing":
        frame.iloc[100:200, 1] = np.nan
        frame.rename_axis("when").to_csv(path)
    return path


BAD = {
    "bytes": "is no table of text",
    "text": "expected a column of dates and one of numbers",
    "no dates": "no column can be read as dates, among load, heat; write them like 2016-07-01 13:00",
    "no numbers": "has no column of numbers beside 'when'",
    "bad date": "1 dates of 'when' cannot be read, the first in line 401; write them like",
    "twice": "2 dates occur more than once, such as 2020-01-01 05:00:00; a file has one row for each time",
    "no step": "times have no common step: most are ",
    "missing": "25 % of 'heat' are missing, at most 20 % can be filled in",
    "nothing": "there is no file",
}


@pytest.mark.parametrize("how", BAD)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = spoilt(tmp_path, how)
    with pytest.raises(ValueError, match=BAD[how]):
        read_table(path)
    with pytest.raises(SystemExit) as end:
        main(["forecast", str(path), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_series_are_standardised_by_what_may_be_learned() -> None:
    series = Series.of(table(), (300, 350, 400))
    torch.testing.assert_close(series.values[:300].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(series.values[:300].std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    again = series.values.double() * series.std + series.mean
    np.testing.assert_allclose(again.numpy(), table().to_numpy(), rtol=1e-5)
    constant = Series.of(table().assign(load=5.0), (300, 350, 400))
    assert (constant.values[:, 0] == 0).all()


def series() -> Series:
    return Series.of(table(), (300, 350, 400))


def test_rlinear_is_a_linear_map_of_a_normed_window() -> None:
    head = nn.Linear(12, 5)
    net, x = Forecaster(Window(), head, 5, "mean"), torch.randn(3, 2, 12)
    y = net(x)
    for n in range(3):
        for c in range(2):
            mean, std = x[n, c].mean(), torch.sqrt(x[n, c].var(correction=0) + 1e-5)
            torch.testing.assert_close(y[n, c], head((x[n, c] - mean) / std) * std + mean)


def test_dlinear_splits_off_a_moving_average() -> None:
    net, x = DLinear(40, 5), torch.randn(2, 3, 40)
    for linear in (net.trend, net.rest):
        nn.init.normal_(linear.weight)
    y = net(x)
    for n in range(2):
        for c in range(3):
            row = torch.cat([x[n, c, :1].expand(12), x[n, c], x[n, c, -1:].expand(12)])
            trend = torch.stack([row[t : t + 25].mean() for t in range(40)])
            torch.testing.assert_close(y[n, c], net.trend(trend) + net.rest(x[n, c] - trend), atol=1e-5, rtol=1e-5)


def test_segrnn_answers_for_all_segments_by_one_state() -> None:
    encoder, head = Segments(2, 4, 10, 6, 0.0), nn.Linear(6, 4)
    net, x = Forecaster(encoder, head, 10, "last"), torch.randn(3, 2, 12)
    y = net(x)
    assert y.shape == (3, 2, 10)
    for n in range(3):
        for c in range(2):
            window = x[n, c] - x[n, c, -1]
            _, state = encoder.gru(torch.relu(encoder.into(window.view(3, 4))))
            parts = []
            for m in range(3):
                asked = torch.cat([encoder.place[m], encoder.which[c]])[None]
                parts.append(head(encoder.gru(asked, state)[0][0]))
            torch.testing.assert_close(y[n, c], torch.cat(parts)[:10] + x[n, c, -1])


def test_every_series_is_read_by_itself() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return x.cumsum(1), None

    encoders = {
        "recurrent": Recurrent(nn.LSTM(4, 6, batch_first=True), 4),
        "patches": Patches(lambda _: Same(), 24, patch=8, width=6, dropout=0.0),
    }
    for encoder in encoders.values():
        x = torch.randn(2, 3, 24)
        one = encoder(x)
        assert one.shape[:3] == (2, 3, 1)
        x[0, 1] += 1
        changed = (encoder(x) != one).flatten(2).any(-1)
        assert changed.tolist() == [[False, True, False], [False, False, False]]


def test_distributions_are_taken_back_to_the_units_of_the_window() -> None:
    torch.manual_seed(0)
    net, x = Forecaster(Window(), MixtureHead(12, 5, 2), 5, "mean"), torch.randn(3, 2, 12)
    one, other = net(x), net(100 * x + 7)
    assert isinstance(one, NormalMixture)
    torch.testing.assert_close(other.mean, 100 * one.mean + 7, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(other.stddev, 100 * one.stddev, rtol=1e-3, atol=1e-2)


def test_naive_forecasts_repeat() -> None:
    x = torch.arange(6.0).view(1, 1, 6)
    assert repeated(x, 4, 1).tolist() == [[[5, 5, 5, 5]]]
    assert repeated(x, 5, 3).tolist() == [[[3, 4, 5, 3, 4]]]


def test_scores_are_those_of_a_loop() -> None:
    data = series()
    law = NormalMixture(torch.zeros(1), torch.zeros(1), torch.ones(1))

    def forecast(x: Tensor) -> NormalMixture:
        shape = (*x.shape[:2], 6, 1)
        return NormalMixture(torch.zeros(shape), torch.zeros(shape), torch.ones(shape))

    windows = list(data.batches(2, 12, 6))
    y = torch.cat([y for _, y in windows])
    assert errors(forecast, windows) == pytest.approx((float(y.square().mean()), float(y.abs().mean())), rel=1e-5)
    q = [float(law.icdf(torch.tensor(i / 10))) for i in range(1, 10)]
    wanted = [
        max(t * (v - a), (t - 1) * (v - a)) for t, a in zip(np.arange(1, 10) / 10, q) for v in y.flatten().tolist()
    ]
    assert mean_pinball(forecast, windows) == pytest.approx(float(np.mean(wanted)), rel=1e-4)
    inside = (y.abs() <= 1.2815516).double().mean()
    assert coverage(depths(forecast, windows)) == pytest.approx(float(inside), abs=1e-6)
    assert float(pinball(torch.tensor(1.0), torch.tensor(3.0), 0.9)) == pytest.approx(1.8)


def test_calibration_holds_what_it_says_on_exchangeable_numbers() -> None:
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        held, new = torch.rand(99, generator=rng) ** 3, torch.rand(200, generator=rng) ** 3
        found.append(coverage(new, calibrated_level(held)))
    assert abs(np.mean(found) - 0.8) < 4 * np.std(found) / 200**0.5 + 0.002
    assert calibrated_level(torch.tensor([0.1, 0.2, 0.3, 0.9])) == pytest.approx(0.9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    path = written(folder, table(600))
    main(["forecast", str(path), "--target", "heat", "--horizon", "12", "--steps", "150", "--out", str(folder / "out")])
    return folder / "out"


def test_the_command_writes_forecasts_scores_and_a_picture(run: Path) -> None:
    found = pd.read_csv(run / "forecast.csv", parse_dates=["date"])
    assert list(found) == ["date", "series", "low", "median", "high", "mean"]
    assert set(found["series"]) == {"heat"}
    assert found["date"].tolist() == list(pd.date_range("2020-01-26", periods=12, freq="h"))
    assert (found["low"] < found["median"]).all()
    assert (found["median"] < found["high"]).all()
    hours = np.arange(600, 612)
    true = 10 + 3 * np.sin(2 * np.pi * hours / 24 + 1)
    assert np.abs(found["median"] - true).mean() < 1
    scores = json.loads((run / "scores.json").read_text())
    assert scores["gmlayers"]["mse"] < scores["last value"]["mse"]
    assert 0.6 < scores["gmlayers"]["calibrated"] < 0.95
    assert (run / "forecast.png").stat().st_size > 10_000


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, table(200))
    main(["forecast", str(path), "--horizon", "5", "--steps", "2", "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert "the last fifth of the rows, in standard deviations of each series" in out
    assert "last season" in out
    assert f"{tmp_path}/out/forecast.csv has the forecasts, with intervals of 80 %" in out
    assert "a step is h" in err
    assert len(pd.read_csv(tmp_path / "out" / "forecast.csv")) == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--horizon", "0"], "--horizon must be at least 1, got 0"),
        (["--look-back", "0"], "--look-back must be at least 1, got 0"),
        (["--target", "lod"], "unknown column of numbers 'lod'; did you mean 'load'"),
        (["--date", "wen"], "unknown column 'wen'"),
        (["--horizon", "300"], "the table has 400 rows, and at least"),
        (["--horizon", "10", "--look-back", "500"], "give a smaller --horizon or --look-back"),
    ],
)
def test_bad_options(tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, table())
    with pytest.raises(SystemExit) as end:
        main(["forecast", str(path), "--out", str(tmp_path / "out"), *options])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"])
def test_one_order_of_day_and_month_is_taken_for_all(tmp_path: Path, form: str) -> None:
    days = pd.date_range("2020-01-01", periods=366, freq="D")
    pd.DataFrame({"day": days.strftime(form), "a": np.sin(np.arange(366.0))}).to_csv(tmp_path / "t.csv", index=False)
    found = read_table(tmp_path / "t.csv")
    np.testing.assert_allclose(found.values["a"], np.sin(np.arange(366.0)))
    assert list(found.values.index) == list(days)


def test_dates_that_may_be_either_are_asked_for(tmp_path: Path) -> None:
    days = ["05.03.2020", "04.02.2020", "07.01.2020", "03.06.2020"]
    pd.DataFrame({"day": days, "a": [1.5, 2.5, 3.5, 4.5]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match="may be read day or month first; write them like 2016-07-01"):
        read_table(tmp_path / "t.csv", "day")


def test_the_clock_of_the_file_is_kept(tmp_path: Path) -> None:
    hours = pd.date_range("2020-01-01", periods=50, freq="h")
    texts = [f"{t.isoformat()}-05:00" for t in hours]
    pd.DataFrame({"t": texts, "a": np.sin(np.arange(50.0))}).to_csv(tmp_path / "t.csv", index=False)
    assert list(read_table(tmp_path / "t.csv").values.index) == list(hours)
    texts[-1] = texts[-1].replace("-05:00", "-04:00")
    pd.DataFrame({"t": texts, "a": np.sin(np.arange(50.0))}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(
        ValueError, match="several distances from UTC, such as -05:00 and -04:00; write all of them in UTC"
    ):
        read_table(tmp_path / "t.csv", "t")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["1.005", "939", "1.210"], "whose point may stand for thousands or decimals"),
        (["1,5", "2,5", "3,75"], "numbers with commas, such as 1,5; write them with points"),
    ],
)
def test_unclear_numbers_are_asked_for(tmp_path: Path, values: list[str], said: str) -> None:
    days = pd.date_range("2020-01-01", periods=30, freq="D")
    pd.DataFrame({"day": days, "a": values * 10}).to_csv(tmp_path / "t.csv", index=False, sep=";")
    with pytest.raises(ValueError, match=said):
        read_table(tmp_path / "t.csv")


def test_ends_without_values_counts_of_rows_and_outliers(tmp_path: Path) -> None:
    frame = table(300).reset_index(names="when")
    frame.loc[290:, "load"] = np.nan
    frame.to_csv(tmp_path / "t.csv")  # with the index of pandas
    found = read_table(tmp_path / "t.csv")
    assert list(found.values) == ["load", "heat"]
    assert len(found.values) == 290
    assert "10 rows at the ends lack values, and were left out" in found.notes
    spoilt = table(300)
    spoilt.iloc[290, 0] = 1e30
    with pytest.raises(ValueError, match="'load' has values more than 1e"):
        Series.of(spoilt, (200, 250, 300))


def test_the_last_season_is_the_last_season(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=200, freq="D")
    pd.DataFrame({"day": days, "a": np.arange(200) % 7 + 0.5}).to_csv(tmp_path / "t.csv", index=False)
    main(
        [
            "forecast",
            str(tmp_path / "t.csv"),
            "--horizon",
            "4",
            "--look-back",
            "3",
            "--steps",
            "2",
            "--out",
            str(tmp_path / "o"),
        ]
    )
    scores = json.loads((tmp_path / "o" / "scores.json").read_text())
    assert scores["last season"]["mse"] == pytest.approx(0, abs=1e-9)
