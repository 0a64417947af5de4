import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from gmlayers.experiments import _download, display
from gmlayers.experiments.forecasting.series import Series
from gmlayers.nn import NormalMixture
from gmlayers_studies import papers
from gmlayers_studies.command import archive, plot
from gmlayers_studies.hosts import forecasts as forecasting
from gmlayers_studies.hosts.forecasts import ATTENTION, CELLS, HEADS, KINDS, ForecastHost, loss_of, width
from gmlayers_studies.hosts.report import Outcome
from gmlayers_studies.hosts.run import BlockRun, Entry, size
from gmlayers_studies.papers.forecasting import HORIZONS, against_published, in_the_mean
from gmlayers_studies.plan import Plan


@pytest.fixture(autouse=True)
def waves(tmp_path, monkeypatch):
    """Seven waves of a day and of a week, with noise, in the place of ETTh1."""
    hours, rng = np.arange(2400), np.random.default_rng(0)
    waves = [
        np.sin(2 * np.pi * hours / p + i) + 0.1 * rng.normal(size=2400) for i, p in enumerate([24] * 5 + [168] * 2)
    ]
    table = pd.DataFrame(
        np.stack(waves, 1), columns=list("ABCDEFG"), index=pd.date_range("2016-07-01", periods=2400, freq="h")
    )
    path = tmp_path / "ETTh1.csv"
    table.rename_axis("date").to_csv(path)
    monkeypatch.setattr(_download, "obtain", lambda _: path)
    monkeypatch.setattr(forecasting, "ENDS", (1600, 2000, 2400))
    for cached in (forecasting.series, forecasting.fingerprint):
        cached.cache_clear()
    yield
    for cached in (forecasting.series, forecasting.fingerprint):
        cached.cache_clear()


def test_windows_of_a_part_have_their_targets_in_it():
    series = forecasting.series()
    assert isinstance(series, Series)
    for part, (low, high) in enumerate(((96, 1600), (1600, 2000), (2000, 2400))):
        starts = series.windows(part, 96, 24)
        assert int(starts[0]) + 96 == low
        assert int(starts[-1]) + 96 + 24 == high
    x, y = series.read(torch.tensor([5]), 96, 24)
    torch.testing.assert_close(x[0], series.values[5:101].T)
    torch.testing.assert_close(y[0], series.values[101:125].T)
    torch.testing.assert_close(series.values[:1600].mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(series.values[:1600].std(0, correction=0), torch.ones(7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("horizon", [96, 100])
def test_all_forecasters_answer_for_every_step(kind, horizon):
    for name in KINDS[kind].names:
        learner = ForecastHost(kind, horizon).begin(name, 0, choosing=True)
        answer = learner.model(torch.randn(2, 7, 96))
        mean = answer.mean if isinstance(answer, NormalMixture) else answer
        assert mean.shape == (2, 7, horizon)
        assert learner.loss().isfinite()
        inside = {id(p) for p in learner.model.parameters()}
        assert all(id(p) in inside for place in learner.places for p in place.parameters())


@pytest.mark.parametrize("make", [HEADS[name] for name in ("MLP", "GM", "GMNM")])
def test_blocks_beside_a_linear_head_are_as_large_as_it(make):
    for inputs, outputs in ((96, 96), (128, 48), (64, 720)):
        linear = size([nn.Linear(inputs, outputs)])
        assert abs(size([make(inputs, outputs)]) - 2 * linear) < 0.06 * linear
        assert width(inputs, outputs) >= 1


def test_cells_and_attention_are_as_large_as_torchs():
    torchs = size([nn.LSTM(4, 64)])
    assert all(abs(size([make(4, 64)]) - torchs) < 0.05 * torchs for make in CELLS.values())
    softmax = size([ATTENTION["softmax"](32)])
    assert all(abs(size([make(32)]) - softmax) < 0.05 * softmax for make in ATTENTION.values())


@pytest.mark.parametrize("name", ["linear", "GM", "mixture head"])
def test_waves_are_learned(name):
    torch.manual_seed(0)
    host = ForecastHost("RLinear", 24)
    learner = host.begin(name, 0, choosing=False)
    optimizer = torch.optim.Adam(learner.model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        learner.loss().backward()
        optimizer.step()
    found = learner.judge()
    assert found["mse"] < 0.08
    assert found["mae"] ** 2 <= found["mse"]
    if name == "mixture head":
        assert 0.7 < found["calibrated"] < 0.9
        assert 0 < found["pinball"] < found["mae"]


def test_naive_forecasts_are_judged_beside_dlinear():
    found = ForecastHost("DLinear", 24).begin("linear", 0, choosing=False).judge()
    series = forecasting.series()
    total = last = count = 0.0
    for start in series.windows(2, 96, 24):
        y = series.values[start + 96 : start + 120]
        total += float((y - series.values[start + 72 : start + 96]).square().sum())
        last += float((y - series.values[start + 95]).square().sum())
        count += y.numel()
    assert found["seasonal_mse"] == pytest.approx(total / count, rel=1e-4)
    assert found["last_mse"] == pytest.approx(last / count, rel=1e-4)


def test_losses():
    y, answer = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    assert float(loss_of(answer, y, absolute=True)) == pytest.approx(float((answer - y).abs().mean()))
    assert float(loss_of(answer, y, absolute=False)) == pytest.approx(float((answer - y).square().mean()))
    law = NormalMixture(torch.zeros(3, 2, 4, 1), answer[..., None], torch.ones(3, 2, 4, 1))
    wanted = 0.5 * (answer - y).square().mean() + 0.5 * math.log(2 * math.pi)
    assert float(loss_of(law, y, absolute=True)) == pytest.approx(float(wanted))


def outcomes(values):
    by = {}
    for (task, label), found in values.items():
        entry = Entry("forecasting", task, label, 3, (1e-3,), task, (0, 1, 2), "x")
        run = BlockRun(entry, ForecastHost.of(task))
        by[task, label] = Outcome(run, [{"mse": v} for v in found], np.array(found), (1.0,))
    return by


def test_verdicts_in_the_mean_are_by_equal_seeds():
    base = {(f"RLinear {h}", "linear"): (0.386, 0.396, 0.376) for h in HORIZONS}
    better = {(f"RLinear {h}", "GM"): (0.376, 0.387, 0.367) for h in HORIZONS}
    (said,) = in_the_mean(outcomes(base | better))
    assert said.startswith("RLinear, mean of the horizons, is GM better than linear: yes; the squared error differs")
    assert "by -0.0093 with a standard error of 0.000" in said
    said = against_published(outcomes(base))
    assert said[0].startswith("RLinear, squared errors beside those published: 0.386 at 96 (")
    assert "0.386 at 192 (-11.7 %)" in said[0]
    assert in_the_mean(outcomes(base)) == []


def test_smoke(tmp_path, capsys):
    """All trials run in this process: another would read the true file."""
    study, out = papers.study("forecasting"), tmp_path / "out"
    plan = Plan.of(study, "smoke", out)
    assert len(plan.runs) == sum(len(KINDS[kind].names) for kind in ("RLinear", "LSTM", "transformer"))
    plan.make(resume=False)
    with display.live() as live:
        for jobs in plan.rounds(live, set()):
            for job in jobs:
                assert job.work() is None
    assert plan.finish() is not None
    text = capsys.readouterr().out
    assert "RLinear 96, is a GM head better than a linear one: " in text
    page = (out / "forecasting.md").read_text()
    assert f"ran {3 * len(plan.runs)} of {3 * len(plan.runs)} runs" in page
    (tmp_path / "archive").mkdir()
    archive(out, tmp_path / "archive" / "forecasting.zip")
    plot("forecasting", records=tmp_path / "archive")
    assert (tmp_path / "archive" / "forecasting.md").read_text() == page
