import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gmlayers.experiments import plots

LEVEL = 3.0  # of 255; without dithering it is 4.6


def dots():
    """Many points in one colour and few in another."""
    figure = Figure(figsize=(4, 4))
    axes = figure.subplots()
    axes.scatter(np.arange(400) % 20, np.arange(400) // 20, color=plots.COLOURS[0])
    axes.scatter([3.5], [7.5], color=plots.COLOURS[2])
    return figure


def field():
    """A field of all the colours of a map, with thin lines over it."""
    figure = Figure(figsize=(4, 4))
    axes = figure.subplots()
    axes.imshow(np.add.outer(np.sin(np.arange(99) / 9), np.cos(np.arange(99) / 7)), cmap="viridis")
    for colour in plots.COLOURS:
        axes.plot(np.arange(99), np.random.default_rng(0).uniform(0, 98, 99), color=colour, linewidth=0.6)
    return figure


@pytest.mark.parametrize("draw", [dots, field])
def test_a_palette_leaves_every_colour_nearly_as_it_is(draw, tmp_path):
    figure, whole = draw(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(whole)
    plots.save(figure, tmp_path / "a.png")
    saved = Image.open(tmp_path / "a.png")
    assert saved.mode == "P"
    wanted, found = (np.asarray(image.convert("RGB")).astype(int) for image in (Image.open(whole), saved))
    assert np.abs(wanted - found).max() <= 40  # of 255; by the median cut it is more than 50
    smooth = [image.reshape(50, 8, 50, 8, 3).mean((1, 3)) for image in (wanted, found)]
    assert np.abs(smooth[0] - smooth[1]).max() <= LEVEL  # no steps: dithered, squares of 8 x 8 points keep their mean
    assert (tmp_path / "a.png").stat().st_size < 0.7 * len(whole.getvalue())


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        plots.save(dots(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_name_in_a_figure_is_no_formula():
    assert plots.words("$a$ \x07") == r"\$a\$ \x07"
