"""Modules that a trial keeps, in the units of its problem, so that what was learned can be drawn."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from gmlayers import GMNM
from gmlayers.experiments.records import write_tensors
from gmlayers_studies.approximators.nets import Scaled
from gmlayers_studies.records import Kept

SEED = 0
"""The modules of this seed are kept."""

FORMS = {"Mahalanobis": "mahalanobis", "AxisAligned": "diagonal", "Ridge": "ridge"}
"""The forms of modules have these names in files."""


@torch.no_grad()
def keep(predict: object, path: Path) -> None:
    """Write what a method has come to in the units of the problem, if it is a module of bumps."""
    module = _in_units(predict)
    if module is None:
        return
    about = {"form": FORMS[type(module.form).__name__], "domain": module.domain, "bias": module.bias is not None}
    write_tensors(path, module.state_dict(), about)


def module_of(kept: Kept) -> GMNM:
    """Return the module that :func:`keep` wrote."""
    tensors, about = kept
    bumps, features = tensors["mean"].shape
    rank = tensors["projection"].shape[1] if about["form"] == "mahalanobis" else None
    module = GMNM(
        features,
        tensors["weight"].shape[1],
        bumps,
        form=about["form"],
        rank=rank,
        domain=about["domain"],
        bias=about["bias"],
        dtype=tensors["mean"].dtype,
    )
    module.load_state_dict(tensors)
    return module


def _in_units(predict: object) -> GMNM | None:
    """Return a module of bumps in the units of the problem, or None; one between scales takes them up first."""
    if isinstance(predict, GMNM):
        return predict
    if not (isinstance(predict, Scaled) and isinstance(predict.net, GMNM)):
        return None
    module = copy.deepcopy(predict.net)
    low, high = predict.box
    half, (shift, factor) = (high - low) / 2, predict.output
    module.domain = tuple(low.tolist()), tuple(high.tolist())
    module.mean.copy_(low + half * (module.mean + 1))
    for shapes in module.form_parameters().values():
        shapes.div_(half)
    module.weight.mul_(factor)
    assert module.bias is not None
    module.bias.mul_(factor).add_(shift)
    return module
