import math

import pytest
import torch

from gmlayers_studies.approximators import splines

pytest.importorskip("kan")
F64 = torch.float64


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pieces_are_derivatives_of_splines_from_the_right(k, cox_de_boor):
    knots = torch.rand(9, dtype=F64).sort().values
    pieces = splines.pieces(knots.unsqueeze(0), k)[0]
    assert pieces.shape == (k + 1, 10, 8 - k)
    assert not pieces[:, [0, -1]].any()
    for m, identity in enumerate(torch.eye(8 - k)):
        for j in range(8):
            width = float(knots[j + 1] - knots[j])
            for share in (0.0, 0.3, 0.9):
                taylor = sum(
                    float(c) * (share * width) ** q / math.factorial(q) for q, c in enumerate(pieces[:, j + 1, m])
                )
                expected = cox_de_boor(float(knots[j]) + share * width, knots.tolist(), identity, k)
                assert taylor == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_without_pykan_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kan", None)
    with pytest.raises(ImportError, match=r"pip install '\./studies\[peers\]'"):
        splines.pykan()
