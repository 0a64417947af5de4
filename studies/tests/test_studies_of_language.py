import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gmlayers.experiments.records import readable
from gmlayers_studies import papers
from gmlayers_studies.command import archive, plot, reproduce
from gmlayers_studies.hosts.language import BLOCKS, ByMixtures, ByteHost, ByteModel, bits, corpus, draw, windows
from gmlayers_studies.hosts.run import BlockRun, Entry, size
from gmlayers_studies.records import Records


def test_the_parts_of_the_corpus_are_other_files():
    text = corpus()
    assert all(len(part) > 100_000 for part in text[:3])
    assert 0.05 < len(text.test) / len(text.train) < 0.3
    for part in (text.validation, text.test):
        assert bytes(text.train.byte().numpy()).find(bytes(part[:400].byte().numpy())) == -1


def test_windows_and_draws():
    text = torch.arange(1000)
    rows = windows(text, 10, 7)
    assert rows.shape == (7, 11)
    assert (rows[:, 1:] - rows[:, :-1] == 1).all()
    assert (rows[0, 0], rows[-1, -1]) == (0, 999)
    drawn = draw(text, 10, 500, torch.Generator().manual_seed(0))
    assert drawn.min() < 20
    assert drawn.max() > 980
    assert (drawn[:, 1:] - drawn[:, :-1] == 1).all()


@pytest.mark.parametrize("width", [16, 64, 96])
def test_blocks_are_of_one_size(width):
    sizes = {name: size([make(width)]) for name, make in BLOCKS.items()}
    wanted = sizes["MLP, GELU"]
    assert all(abs(found - wanted) <= 0.02 * wanted for found in sizes.values()), sizes


def test_models_read_what_came_before_and_no_more():
    model = ByteModel(16, 8, "GMFeedForward").eval()
    rows = torch.randint(256, (2, 8))
    other = rows.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 256
    one, two = model(rows), model(other)
    torch.testing.assert_close(one[:, :5], two[:, :5])
    assert not torch.allclose(one[:, 5:], two[:, 5:])


def test_bits_are_those_of_a_loop():
    model = ByteModel(16, 8, "SwiGLU")
    rows = torch.randint(256, (5, 9))
    total = 0.0
    for row in rows:
        logits = model(row[None, :-1])[0]
        total -= sum(float(F.log_softmax(logits[i], 0)[row[i + 1]].detach()) for i in range(8))
    assert bits(model, rows, batch=2) == pytest.approx(total / 40 / math.log(2), rel=1e-5)
    with torch.no_grad():
        for p in model.head.parameters():
            p.zero_()
    assert bits(model, rows) == pytest.approx(8)
    assert model.training


def test_attention_takes_part_at_one_size():
    host = ByteHost(64, whole=True)
    sizes = {name: size(host.begin(name, 0, choosing=True).places) for name in host.blocks}
    assert all(abs(found - sizes["MLP, GELU"]) <= 0.01 * sizes["MLP, GELU"] for found in sizes.values()), sizes
    model = ByteModel(16, 8, "GMNM attention, 2 components").eval()
    assert isinstance(model.layers[0].attention, ByMixtures)
    rows = torch.randint(256, (2, 8))
    other = rows.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 256
    torch.testing.assert_close(model(rows)[:, :5], model(other)[:, :5])


def test_smoke_of_language(tmp_path, capsys):
    out = tmp_path / "out"
    reproduce("language", profile="smoke", out=out, jobs=2)
    text = capsys.readouterr().out
    assert "width 16, is attention by mixtures better than softmax: " in text
    assert "`gmlayers reproduce language --profile full` ran 36 of 36 runs" in (out / "language.md").read_text()


def test_smoke(tmp_path, capsys):
    out = tmp_path / "out"
    reproduce("blocks", profile="smoke", out=out, jobs=2)
    text = capsys.readouterr().out
    assert "width 16, is it better than a GELU MLP: " in text
    table = pd.read_csv(out / "blocks.csv")
    assert len(table) == 6 * (len(BLOCKS) - 1)  # seeds, and rates that were tried
    assert (table["epoch"] == 3).all()
    page = (out / "blocks.md").read_text()
    assert "`gmlayers reproduce blocks --profile full` ran 30 of 30 runs" in page
    study = papers.study("blocks")
    for run in study.runs("smoke").values():
        tried = [readable(out / run.place / f"setting-{i}" / "metrics.jsonl")[-1]["bits"] for i in range(3)]
        rows = readable(out / run.place / "seed-0" / "metrics.jsonl")
        assert rows[-1]["setting"] == int(np.argmin(tried))
    (tmp_path / "archive").mkdir()
    archive(out, tmp_path / "archive" / "blocks.zip")
    plot("blocks", records=tmp_path / "archive")
    assert (tmp_path / "archive" / "blocks.md").read_text() == page


def test_other_texts_are_refused(tmp_path):
    run = BlockRun(Entry("blocks", "width 16", "MLP, GELU", 3, (1e-3,), "width 16", (0,), "text"), ByteHost(16))
    with pytest.raises(ValueError, match="the standard library of this Python is not that of the records"):
        run.perform(tmp_path, 0, 0)


def test_records_of_other_studies_are_let_be():
    study = papers.study("blocks")
    assert study.recorded(Records([])) == {}
    assert study.contestants[0].read(study, "fit2d/sines/kan/100-1s", {}) is None
    assert isinstance(ByteModel(16, 8, "MLP, GELU").layers[0].block, nn.Sequential)
