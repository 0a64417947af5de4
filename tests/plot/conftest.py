"""Pictures are drawn without a display, and closed."""

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_afterwards():
    yield
    from matplotlib import pyplot

    pyplot.close("all")
