import random

import pytest
import torch

from gmlayers_studies.command import reproduce
from gmlayers_studies.hosts.listops import ATTENTION, TOKENS, ListHost, Reader, draw, expressions, value_of
from gmlayers_studies.hosts.run import size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[SM 5 6 [SM 9 9 ] ]", 9),
        ("[MED 1 8 4 ]", 4),
        ("[MED 1 8 4 5 ]", 4),
        ("[MIN 3 [MAX 1 2 ] ]", 2),
    ],
)
def test_values(text, value):
    assert value_of(text.split()) == value


def test_what_is_drawn_has_the_value_that_it_has():
    rng = random.Random(0)
    for _ in range(300):
        tokens, value = draw(rng)
        assert value_of(tokens) == value


def test_expressions_differ_and_fit():
    rows, values = expressions(500, 20, 1)
    assert rows.shape == (500, 20)
    assert len({tuple(row) for row in rows.tolist()}) == 500
    for row, value in zip(rows[:50], values):
        tokens = [TOKENS[i] for i in row.tolist() if i]
        assert value_of(tokens) == value
        assert sum(token.startswith("[") for token in tokens) >= 2
    assert torch.equal(rows, expressions(500, 20, 1)[0])
    assert values.bincount(minlength=10).min() > 10


def test_what_fills_up_rows_is_not_read():
    model, rows = Reader(20, ATTENTION["GMNM, 1 head, 2 components"]).eval(), expressions(50, 20, 1)[0]
    alone = torch.cat([model(row[None]) for row in rows])
    torch.testing.assert_close(model(rows), alone, atol=1e-5, rtol=1e-4)


def test_attention_is_of_one_size():
    host = ListHost.of("up to 20 tokens")
    sizes = [size([make(64)]) for make in host.blocks.values()]
    assert max(sizes) < 1.02 * min(sizes)


def test_smoke(tmp_path, capsys):
    reproduce("listops", profile="smoke", out=tmp_path, jobs=2)
    text = capsys.readouterr().out
    assert "up to 20 tokens, is one head of two components better than two of softmax: " in text
    assert "ran 18 of 18 runs" in (tmp_path / "listops.md").read_text()
