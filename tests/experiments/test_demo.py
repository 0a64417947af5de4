"""The demo, with little of everything: what it prints and the page that it writes."""

import re
from html.parser import HTMLParser

import pytest
import torch

from gmlayers.cli import main
from gmlayers.experiments.data import load
from gmlayers.experiments.demo import layer, solving


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(solving, "PINN_SECONDS", 0.1)
    monkeypatch.setattr(solving, "ROWS", 60)
    monkeypatch.setattr(solving, "MLP_ITERATIONS", 3)
    monkeypatch.setattr(layer, "EPOCHS", 2)
    monkeypatch.setattr(layer, "PASSES", 1)
    monkeypatch.setattr(layer, "WIDE", 60)
    monkeypatch.setattr(layer, "NARROW", 15)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Page(HTMLParser):
    """Counts tags, and what a page would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.cells = {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.sources += [value for name, value in attrs if name in ("src", "href")]


def test_the_demo_prints_two_tables_and_writes_one_page(tmp_path, capsys, quick):
    main(["demo", "--seeds", "1", "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html"]
    page = Page((tmp_path / "index.html").read_text())
    assert (page.tags["img"], page.tags["table"]) == (2, 2)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for name in ("gmlayers, solve", "PINN", "Gaussian process", layer.GM, layer.SMALLER):
        assert name in out
    assert "demo  9/9" in err
    assert (tmp_path / "index.html").resolve().as_uri() in out
    solved = re.search(r"gmlayers, solve +([\d,]+) +(\S+)", out)
    assert float(solved[2]) < 1e-8


def test_the_demo_goes_over_an_earlier_page(tmp_path, capsys, quick):
    (tmp_path / "index.html").write_text("old")
    main(["demo", "--seeds", "1", "--out", str(tmp_path)])
    assert "old" not in (tmp_path / "index.html").read_text()[:50]


@pytest.mark.parametrize("seeds", ["0", "101"])
def test_numbers_of_seeds_that_make_no_sense(tmp_path, capsys, seeds):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--seeds", seeds, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert f"--seeds must be from 1 to 100, got {seeds}" in capsys.readouterr().err


def test_equal_sizes_are_equal():
    data = layer.shuffled(load("digits"), 0)
    sizes = {}
    for name, width in (("low_rank", layer.NARROW), ("fc", layer.NARROW), ("fc", layer.WIDE)):
        recipe = layer.MODELS[name].recipe
        trainer = layer.Trainer(layer.Trial(name, layer.Shape(width=width), recipe), data)
        sizes[name, width] = sum(p.numel() for p in trainer.model.parameters())
    gm, fc, large = sizes.values()
    assert gm == pytest.approx(fc, rel=0.01)
    assert 4 * fc == pytest.approx(large, rel=0.01)


def test_another_split_has_the_same_images():
    data = load("digits")
    here = layer.shuffled(data, 1)
    assert len(here.test_x) == len(data.test_x)
    whole, again = (torch.cat([d.train_x, d.test_x]).flatten(1).sum() for d in (data, here))
    torch.testing.assert_close(whole, again)
    assert not torch.equal(here.test_x, data.test_x)


def test_the_verdict_says_whether_a_difference_can_be_told():
    def runs(gm, fc):
        made = {layer.GM: gm, layer.FC: fc, layer.SMALLER: 0.02, layer.LARGE: 0.02}
        return {name: [layer.Trained(10, error, 1.0, torch.nn.Identity())] for name, error in made.items()}

    assert "cannot be told apart here" in layer._verdict(runs(0.02, 0.03), 360, 0.99)[1]
    assert "the layer being better" in layer._verdict(runs(0.02, 0.10), 360, 0.99)[1]
    assert "the fully connected one being better" in layer._verdict(runs(0.10, 0.02), 360, 0.99)[1]
