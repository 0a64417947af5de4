"""Every public callable, and every argument of it, against values that do not belong there.

A row of the table is a callable with good arguments. The battery puts hostile values in the place of each argument, one
at a time, by the kind of the good one, and asks for one of two things:

- a result that is right in kind: of the same type as that of the good arguments, finite where all arguments are, and
  equal where the hostile value is merely another form of the same numbers;
- or a ``ValueError`` or ``TypeError`` of one line that a ``raise`` of this library made, and that names the argument.

This is after scikit-learn's checks of estimators and PyTorch's error inputs. What is public and in no row fails a test.
"""

import contextlib
import importlib
import inspect
import linecache
import math
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import gmlayers
from gmlayers import GMNM, GMLayer, LowRank, convert, diagnostics, flows, functional, ops, solve
from gmlayers import nn as layers
from gmlayers.flows import optim, transport
from gmlayers.functional import bures, gmnm, normal, quadrature

F64 = torch.float64
HERE = Path(gmlayers.__file__).parent
SECONDS = 10.0
"""No call may take more time of a processor than this."""

Good = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A callable and how it is attacked."""

    call: Callable[..., object]
    good: Callable[[], Good]
    """This makes good arguments, anew for every call."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What errors may call an argument instead of its name."""
    untried: Mapping[str, str] = field(default_factory=dict)
    """Arguments that are not attacked, each with the reason."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Arguments whose numbers are not looked at, so that those out of range are not refused, each with the reason."""
    kinds: tuple[type, ...] = ()
    """Other types of results that are right."""
    others: tuple[type[Exception], ...] = ()
    """Exceptions of ours that are documented besides the two."""


def r(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=F64) + 0.1


def spd(*batch: int, d: int = 2) -> Tensor:
    A = torch.randn(*batch, d, d, dtype=F64)
    return A @ A.mT + torch.eye(d, dtype=F64)


def layer(**options: Any) -> GMLayer:
    return GMLayer(3, 2, 4, **{"dtype": F64, **options})


def module(**options: Any) -> GMNM:
    return GMNM(2, 1, 4, **{"domain": (-1, 1), "dtype": F64, **options})


def mixture() -> flows.Roots:
    return flows.Roots(r(3, 2), torch.eye(2, dtype=F64).repeat(3, 1, 1))


def quadratic() -> flows.Quadratic:
    return flows.Quadratic(torch.eye(2, dtype=F64), torch.zeros(2, dtype=F64))


def neurons() -> diagnostics.NeuronMixture:
    return diagnostics.marginal(layer())


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).to(F64)


def data() -> Good:
    x = 2 * torch.rand(30, 2, dtype=F64) - 1
    return {"x": x, "y": x.prod(1, keepdim=True)}


def bump() -> Good:
    return {"x": r(5, 3), "mean": r(4, 3), "projection": r(4, 2, 3)}


def weighted() -> Good:
    return {**bump(), "weight": r(4, 2)}


def biased() -> Good:
    return {**weighted(), "bias": r(2)}


def law() -> Good:
    return {"mean": r(4, 3), "root": r(4, 3, 2), "output_mean": r(4, 2), "output_root": r(4, 2, 2)}


def of_layer() -> Good:
    return {"x": r(5, 3), **law(), "activation": "relu", "bias": r(4), "weight": r(4)}


def pair() -> Good:
    return {"mean1": r(3, 2), "cov1": spd(3), "mean2": r(3, 2), "cov2": spd(3)}


def square() -> solve.Box:
    return solve.Box((0, 0), (1, 1))


def problem() -> solve.Problem:
    u = solve.unknown(1)
    return solve.Problem(solve.Box((0,), (1,)), solve.laplacian(u) == 1, {"boundary": u == 0})


def steps() -> Good:
    return {"functional": quadratic(), "mixture": mixture(), "step": 0.1, "reaction": 0.5}


def groups() -> list[optim.LayerGroup]:
    return optim.layer_groups(layer())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


LIMITS: Good = {"tolerance": 1e-2, "max_components": 16, "max_seconds": 100.0, "float32_tolerance": 1.0}
DESCENT: Good = {
    "iterations": 2,
    "least_reduction": 1e-6,
    "regularisation": 1e-8,
    "rank_tolerance": 1e-14,
    "max_seconds": 100.0,
    "float32_tolerance": 1.0,
}


def answer() -> layers.NormalMixture:
    """Return mixtures of five numbers."""
    return layers.NormalMixture(r(5, 3), r(5, 3), r(5, 3).abs() + 0.1)


RECURRENT = ("GMLSTM", "GMNMLSTM", "GMNMGRU", "GMLSTMCell", "GMNMLSTMCell", "GMNMGRUCell")


def state(name: str) -> object:
    """Return a state of a recurrent cell or net for five rows, or for five tokens."""
    h = r(5, 4) if name.endswith("Cell") else r(1, 4)
    return (h, h) if "LSTM" in name else h


def sizes() -> Good:
    return {"in_features": 3, "out_features": 2, "num_components": 4}


def convolved() -> Good:
    return {
        "in_channels": 2,
        "out_channels": 4,
        "kernel_size": 2,
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "groups": 2,
        "bias": True,
        "padding_mode": "zeros",
    }


def gaussian() -> Good:
    return {
        "covariance": "low_rank",
        "activation": "relu",
        "scaling": "sqrt",
        "init_scale": 0.1,
        "device": "cpu",
        "dtype": F64,
    }


def of_gm_layer() -> Good:
    return {
        **sizes(),
        "covariance": "low_rank",
        "activation": "relu",
        "scaling": "sqrt",
        "learn_weights": True,
        "bias": True,
        "init_scale": 0.1,
        "device": "cpu",
        "dtype": F64,
    }


def entered(**options: Any) -> None:
    with ops.use(**options):
        pass


ANY = (type(None), str, Tensor)
"""A step returns what its closure does."""

DEPENDENT = "the condition number of dependent columns is infinite by definition"

TOO_FAR = {"step": "weights", "reaction": "weights"}
"""After too long a step, or too strong a reaction, a weight is 0, and that is what is said."""

ROWS: dict[str, Row] = {
    # functional
    "functional.gm_layer": Row(functional.gm_layer, of_layer),
    "functional.get_activation": Row(functional.get_activation, lambda: {"activation": "relu"}),
    "functional.Activation": Row(
        functional.Activation,
        lambda: {"f": torch.relu, "mean": torch.add, "gate": torch.add, "name": "own", "higher": torch.add},
    ),
    "functional.normal.pdf": Row(normal.pdf, lambda: {"t": r(5)}),
    "functional.normal.cdf": Row(normal.cdf, lambda: {"t": r(5)}),
    "functional.normal.ramp": Row(normal.ramp, lambda: {"t": r(5)}),
    "functional.quadrature.gauss_hermite": Row(quadrature.gauss_hermite, lambda: {"order": 4}),
    "functional.quadrature.mean": Row(
        quadrature.mean, lambda: {"f": torch.sin, "m": r(3, 2), "var": r(3, 2), "order": 4}, {"var": "variances"}
    ),
    "functional.quadrature.gate": Row(
        quadrature.gate, lambda: {"f": torch.sin, "m": r(3, 2), "var": r(3, 2), "order": 4}, {"var": "variances"}
    ),
    "functional.quadrature.gm_layer_monte_carlo": Row(
        quadrature.gm_layer_monte_carlo, lambda: {**of_layer(), "samples": 4, "generator": generator()}
    ),
    "functional.gmnm.ridge": Row(gmnm.ridge, lambda: {"projection": r(4, 2, 3)}),
    "functional.gmnm.bumps": Row(gmnm.bumps, bump),
    "functional.gmnm.bumps_laplacian": Row(gmnm.bumps_laplacian, bump),
    "functional.gmnm.derivative": Row(gmnm.derivative, lambda: {**bump(), "axes": (0, 1)}, {"axes": "axis"}),
    "functional.gmnm.gmnm": Row(gmnm.gmnm, biased),
    "functional.gmnm.gradient": Row(gmnm.gradient, weighted),
    "functional.gmnm.laplacian": Row(gmnm.laplacian, weighted),
    "functional.gmnm.hessian": Row(gmnm.hessian, weighted),
    "functional.gmnm.value_gradient_laplacian": Row(gmnm.value_gradient_laplacian, biased),
    "functional.bures.sqrt": Row(bures.sqrt, lambda: {"cov": spd(3)}),
    "functional.bures.distance": Row(bures.distance, pair),
    "functional.bures.distance_squared": Row(bures.distance_squared, pair),
    "functional.bures.transport_map": Row(bures.transport_map, lambda: {"cov1": spd(3), "cov2": spd(3)}),
    "functional.bures.geodesic": Row(bures.geodesic, lambda: {**pair(), "t": 0.5}),
    "functional.bures.exp": Row(bures.exp, lambda: {"cov": spd(3), "tangent": 0.1 * torch.eye(2, dtype=F64)}),
    "functional.bures.log": Row(bures.log, lambda: {"cov1": spd(3), "cov2": spd(3)}),
    "functional.bures.barycentre": Row(
        bures.barycentre,
        lambda: {
            "means": r(3, 2),
            "covs": spd(3),
            "weights": torch.full((3,), 1 / 3, dtype=F64),
            "tolerance": 1e-6,
            "max_iterations": 100,
        },
        others=(RuntimeError,),
    ),
    # ops
    "ops.gate": Row(
        ops.gate,
        lambda: {
            "m": r(5, 4),
            "var": r(5, 4),
            "activation": "relu",
            "reading": r(5, 4, 2),
            "implementation": "closed",
        },
        unread={"var": "that variances are positive is not looked up on a device, at every call of every layer"},
    ),
    "ops.gate without readings": Row(
        ops.gate,
        lambda: {"m": r(5, 4), "var": r(5, 4)},
        unread={"var": "that variances are positive is not looked up on a device, at every call of every layer"},
    ),
    "ops.mix by the cheapest": Row(
        ops.mix, lambda: {"gate": r(5, 4), "weight": r(4, 2, 3), "x": r(5, 3), "scale": r(4, 3)}
    ),
    "ops.bumps by the cheapest": Row(ops.bumps, bump),
    "ops.bumps_laplacian by the cheapest": Row(ops.bumps_laplacian, bump),
    "ops.mix": Row(
        ops.mix,
        lambda: {
            "gate": r(5, 4),
            "weight": r(4, 2, 3),
            "x": r(5, 3),
            "scale": r(4, 3),
            "implementation": "one_gemm",
        },
    ),
    "ops.bumps": Row(ops.bumps, lambda: {**bump(), "implementation": "products"}),
    "ops.bumps_laplacian": Row(ops.bumps_laplacian, lambda: {**bump(), "implementation": "products"}),
    "ops.explain": Row(
        lambda operation, x, mean, projection: ops.explain(operation, x, mean, projection),
        lambda: {"operation": "bumps", **bump()},
    ),
    "ops.use": Row(
        entered,
        lambda: {"gate": "closed", "mix": "reference", "bumps": "products", "bumps_laplacian": "products"},
    ),
    # nn
    "nn.GMLayer": Row(GMLayer, of_gm_layer),
    "nn.GMLayer.paper": Row(GMLayer.paper, lambda: {**sizes(), "init_scale": 0.5, "device": "cpu", "dtype": F64}),
    "nn.GMLayer.matching": Row(
        GMLayer.matching,
        lambda: {
            "first": nn.Linear(3, 6),
            "second": nn.Linear(6, 2),
            **{
                k: v
                for k, v in of_gm_layer().items()
                if k in ("covariance", "activation", "scaling", "learn_weights", "bias", "init_scale")
            },
        },
    ),
    "nn.GMLayer.forward": Row(lambda x: layer()(x), lambda: {"x": r(5, 3)}, {"x": "input"}),
    "nn.GMLayer.reset_parameters": Row(
        lambda generator: layer().reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.GMFeedForward": Row(
        layers.GMFeedForward,
        lambda: {
            "in_features": 3,
            "hidden_features": 6,
            "out_features": 2,
            "activation": "gelu",
            "rank": 2,
            "level": True,
            "gate": True,
            "spread": True,
            "bias": True,
            "drop": 0.1,
            "device": "cpu",
            "dtype": F64,
        },
    ),
    "nn.GMFeedForward.forward": Row(
        lambda x: layers.GMFeedForward(3, dtype=F64)(x), lambda: {"x": r(5, 3)}, {"x": "input"}
    ),
    "nn.GMFeedForward.reset_parameters": Row(
        lambda generator: layers.GMFeedForward(3).reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.GMNMAttention": Row(
        layers.GMNMAttention,
        lambda: {
            "embed_dim": 4,
            "num_heads": 2,
            "components": 2,
            "keys": "shift",
            "num_key_heads": 1,
            "dropout": 0.1,
            "bias": True,
            "kdim": 3,
            "vdim": 5,
            "batch_first": True,
            "device": "cpu",
            "dtype": F64,
        },
    ),
    "nn.GMNMAttention.forward": Row(
        lambda query, key, value: layers.GMNMAttention(3, 1, dtype=F64)(query, key, value)[0],
        lambda: {"query": r(5, 3), "key": r(4, 3), "value": r(4, 3)},
    ),
    "nn.GMNMAttention.forward with masks": Row(
        lambda **masks: layers.GMNMAttention(3, 1, dtype=F64)(r(5, 3), **masks)[0],
        lambda: {"key_padding_mask": r(5), "attn_mask": r(5, 5)},
    ),
    "nn.GMNMAttention.forward with its options": Row(
        lambda **options: layers.GMNMAttention(3, 1, dtype=F64)(r(5, 3), **options)[0],
        lambda: {
            "need_weights": True,
            "average_attn_weights": True,
            "is_causal": True,
            "cache": layers.KeyValueCache(),
        },
    ),
    "nn.GMNMAttention.reset_parameters": Row(
        lambda generator: layers.GMNMAttention(3, 1).reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.GMNMAttention.explain": Row(
        lambda **sizes: layers.GMNMAttention(3, 1).explain(**sizes),
        lambda: {"queries": 5, "keys": 4, "is_causal": True, "masked": True, "need_weights": True},
    ),
    "nn.KeyValueCache": Row(layers.KeyValueCache, dict),
    "nn.KeyValueCache.extend": Row(
        lambda keys, values: layers.KeyValueCache().extend(keys, values),
        lambda: {"keys": r(1, 2, 3), "values": r(1, 2, 3)},
    ),
    **{
        f"nn.{name}": Row(
            getattr(layers, name),
            lambda name=name: {
                "input_size": 3,
                "hidden_size": 4,
                "bias": True,
                "num_components": 5,
                "rank": 2,
                **(
                    {"activation": "erf", "level": True, "gate": True, "spread": True} if name.startswith("GML") else {}
                ),
                **({} if name.endswith("Cell") else {"num_layers": 2, "dropout": 0.1, "bidirectional": True}),
                **({} if name.endswith("Cell") else {"batch_first": True}),
                "device": "cpu",
                "dtype": F64,
            },
        )
        for name in RECURRENT
    },
    **{
        f"nn.{name}.forward": Row(
            lambda x, name=name: getattr(layers, name)(3, 4, dtype=F64)(x), lambda: {"x": r(5, 3)}, {"x": "input"}
        )
        for name in RECURRENT
    },
    **{
        f"nn.{name}.forward with a state": Row(
            lambda hx, name=name: getattr(layers, name)(3, 4, dtype=F64)(r(5, 3), hx),
            lambda name=name: {"hx": state(name)},
        )
        for name in RECURRENT
    },
    **{
        f"nn.{name}.reset_parameters": Row(
            lambda generator, name=name: getattr(layers, name)(3, 4).reset_parameters(generator),
            lambda: {"generator": generator()},
        )
        for name in RECURRENT
    },
    "nn.MixtureHead": Row(
        layers.MixtureHead,
        lambda: {
            "in_features": 3,
            "out_features": 2,
            "components": 2,
            "least_std": 0.1,
            "device": "cpu",
            "dtype": F64,
        },
    ),
    "nn.MixtureHead.forward": Row(
        lambda x: layers.MixtureHead(3, 2, dtype=F64)(x).mean, lambda: {"x": r(5, 3)}, {"x": "input"}
    ),
    "nn.MixtureHead.tensors": Row(
        lambda x: layers.MixtureHead(3, 2, dtype=F64).tensors(x), lambda: {"x": r(5, 3)}, {"x": "input"}
    ),
    "nn.MixtureHead.reset_parameters": Row(
        lambda generator: layers.MixtureHead(3, 2).reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.NormalMixture": Row(
        lambda **tensors: layers.NormalMixture(**tensors).mean,
        lambda: {"logits": r(5, 3), "mean": r(5, 3), "std": r(5, 3).abs() + 0.1},
    ),
    "nn.NormalMixture.icdf": Row(
        lambda value: answer().icdf(value), lambda: {"value": r(5).sigmoid()}, {"value": "probabilities"}
    ),
    "nn.NormalMixture.expand": Row(
        lambda batch_shape: answer().expand(batch_shape).mean, lambda: {"batch_shape": (2, 5)}
    ),
    "nn.NormalMixture.crps": Row(lambda y: answer().crps(y), lambda: {"y": r(5)}),
    "nn.GMConv1d": Row(layers.GMConv1d, lambda: {**convolved(), "num_components": 4, **gaussian()}),
    "nn.GMConv2d": Row(layers.GMConv2d, lambda: {**convolved(), "num_components": 4, **gaussian()}),
    "nn.GMNMConv2d": Row(
        layers.GMNMConv2d, lambda: {**convolved(), "num_components": 4, "rank": 2, "device": "cpu", "dtype": F64}
    ),
    "nn.GMNMConv2d.forward": Row(
        lambda x: layers.GMNMConv2d(2, 3, 2, dtype=F64)(x), lambda: {"x": r(1, 2, 4, 4)}, {"x": "input"}
    ),
    "nn.GMNMConv2d.reset_parameters": Row(
        lambda generator: layers.GMNMConv2d(2, 3, 2).reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.GMConv2d by its forward": Row(
        lambda x: layers.GMConv2d(2, 3, 2, dtype=F64)(x), lambda: {"x": r(1, 2, 4, 4)}, {"x": "input"}
    ),
    "nn.GMNMFeedForward": Row(
        layers.GMNMFeedForward,
        lambda: {
            "in_features": 3,
            "hidden_features": 6,
            "out_features": 2,
            "rank": 2,
            "bias": True,
            "drop": 0.1,
            "device": "cpu",
            "dtype": F64,
        },
    ),
    "nn.GMNMFeedForward by the number of bumps": Row(
        layers.GMNMFeedForward, lambda: {"in_features": 3, "num_components": 4}
    ),
    "nn.GMFeedForward by the number of components": Row(
        layers.GMFeedForward, lambda: {"in_features": 3, "num_components": 4}
    ),
    "nn.GMNMFeedForward.forward": Row(
        lambda x: layers.GMNMFeedForward(3, dtype=F64)(x), lambda: {"x": r(5, 3)}, {"x": "input"}
    ),
    "nn.GMNMFeedForward.reset_parameters": Row(
        lambda generator: layers.GMNMFeedForward(3).reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.GMNM": Row(
        GMNM,
        lambda: {
            **sizes(),
            "form": "mahalanobis",
            "rank": 2,
            "domain": (-1.0, 1.0),
            "bias": True,
            "device": "cpu",
            "dtype": F64,
        },
    ),
    "nn.GMNM.from_data": Row(
        GMNM.from_data,
        lambda: {
            **data(),
            "out_features": 1,
            "num_components": 4,
            "form": "mahalanobis",
            "rank": 2,
            "domain": (-1.0, 1.0),
            "bias": True,
            "generator": generator(),
        },
    ),
    "nn.GMNM.forward": Row(lambda x: module()(x), lambda: {"x": r(5, 2)}, {"x": "input"}),
    "nn.GMNM.gradient": Row(lambda x: module().gradient(x), lambda: {"x": r(5, 2)}, {"x": "input"}),
    "nn.GMNM.laplacian": Row(lambda x: module().laplacian(x), lambda: {"x": r(5, 2)}, {"x": "input"}),
    "nn.GMNM.hessian": Row(lambda x: module().hessian(x), lambda: {"x": r(5, 2)}, {"x": "input"}),
    "nn.GMNM.value_gradient_laplacian": Row(
        lambda x: module().value_gradient_laplacian(x), lambda: {"x": r(5, 2)}, {"x": "input"}
    ),
    "nn.GMNM.outside": Row(lambda x: module().outside(x), lambda: {"x": r(5, 2)}, {"x": "input"}),
    "nn.GMNM.reset_parameters": Row(
        lambda generator: module().reset_parameters(generator), lambda: {"generator": generator()}
    ),
    "nn.LowRank": Row(LowRank, lambda: {"rank": 1, "base": "isotropic", "coupling": True}),
    "nn.SharedFactor": Row(layers.SharedFactor, lambda: {"rank": 2}),
    "nn.Diagonal": Row(layers.Diagonal, dict),
    "nn.Full": Row(layers.Full, dict),
    "nn.Regression": Row(layers.Regression, dict),
    "nn.AxisAligned": Row(layers.AxisAligned, dict),
    "nn.Mahalanobis": Row(layers.Mahalanobis, lambda: {"rank": 2}),
    "nn.Ridge": Row(layers.Ridge, dict),
    "nn.FoldedGMLayer": Row(
        layers.FoldedGMLayer,
        lambda: {
            "first": r(8, 3),
            "offset": r(8),
            "std": r(4, 1),
            "second": r(8, 2),
            "coupling": r(4, 2, 3),
            "activation": functional.get_activation("relu"),
        },
    ),
    "nn.FoldedGMLayer.forward": Row(lambda x: convert.fold(layer())(x), lambda: {"x": r(5, 3)}, {"x": "input"}),
    "nn.parameter_groups": Row(
        layers.parameter_groups, lambda: {"model": layer(), "lr": 0.1, "std_lr": 0.1, "weight_decay": 0.1}
    ),
    # convert
    "convert.Pattern": Row(
        convert.Pattern, lambda: {"first": "up", "activation": "act", "second": "down", "between": ("drop",)}
    ),
    "convert.GatedPattern": Row(
        convert.GatedPattern,
        lambda: {"gate": "g", "up": "u", "down": "d", "activation": "act", "between": ("drop",)},
    ),
    "convert.glu_to_gm": Row(
        convert.glu_to_gm,
        lambda: {
            "gate_proj": nn.Linear(3, 6),
            "up_proj": nn.Linear(3, 6, bias=False),
            "down_proj": nn.Linear(6, 2),
            "activation": "silu",
            "drop": 0.1,
            "start": 0.1,
        },
    ),
    "convert.to_layer": Row(convert.to_layer, lambda: {"block": layers.GMFeedForward(3)}),
    "convert.record": Row(
        convert.record,
        lambda: {"swapped": convert.swap_layers(net(), lambda _: layers.GMFeedForward(3, 6, 2, dtype=F64))},
    ),
    "convert.swapped_class": Row(
        convert.swapped_class, lambda: {"model_class": nn.Sequential, "patterns": convert.PATTERNS}
    ),
    "convert.Pointwise": Row(convert.Pointwise, lambda: {"activation": functional.get_activation("sin")}),
    "convert.Pointwise.forward": Row(
        lambda x: convert.Pointwise(functional.get_activation("sin"))(x), lambda: {"x": r(5)}
    ),
    "convert.Shift": Row(convert.Shift, lambda: {"bias": r(3)}),
    "convert.Shift.forward": Row(lambda x: convert.Shift(torch.zeros(3, dtype=F64))(x), lambda: {"x": r(5, 3)}),
    "convert.find_blocks": Row(
        convert.find_blocks,
        lambda: {
            "model": net(),
            "patterns": convert.PATTERNS,
            "activations": (functional.get_activation("sin"),),
        },
    ),
    "convert.block_inputs": Row(
        lambda blocks, run: convert.block_inputs(blocks, run),
        lambda: (lambda model: {"blocks": convert.find_blocks(model), "run": lambda: model(r(5, 3))})(net()),
    ),
    "convert.to_diagonal": Row(convert.to_diagonal, lambda: {"layer": layer(covariance="regression")}),
    "convert.to_regression": Row(convert.to_regression, lambda: {"layer": layer(covariance="diagonal")}),
    "convert.to_full": Row(convert.to_full, lambda: {"layer": layer()}),
    "convert.fold": Row(convert.fold, lambda: {"model": layer()}, kinds=(nn.Identity,)),
    "convert.distill": Row(
        convert.distill,
        lambda: {
            "student": net(),
            "teacher": net(),
            "x": r(6, 3),
            "epochs": 1,
            "batch_size": 4,
            "lr": 1e-3,
            "generator": generator(),
            "progress": lambda epoch, loss: None,
        },
    ),
    "convert.mlp_to_gm": Row(
        convert.mlp_to_gm,
        lambda: {
            "first": nn.Linear(3, 6, dtype=F64),
            "second": nn.Linear(6, 2, dtype=F64),
            "num_components": 2,
            "covariance": "low_rank",
            "activation": "relu",
            "x": r(9, 3),
            "refit": True,
            "ridge": 1e-3,
            "generator": generator(),
        },
        unread={"x": "the error is not finite by definition if the network gives the same for all inputs"},
    ),
    "convert.gm_to_mlp": Row(
        convert.gm_to_mlp,
        lambda: {
            "layer": layer(),
            "width": 8,
            "stratified": True,
            "antithetic": True,
            "generator": generator(),
        },
    ),
    "convert.sampling_variance": Row(
        convert.sampling_variance, lambda: {"layer": layer(), "x": r(5, 3), "stratified": True}
    ),
    "convert.width_for": Row(
        convert.width_for, lambda: {"layer": layer(), "x": r(5, 3), "error": 0.1, "stratified": True}
    ),
    "convert.swap_layers": Row(
        convert.swap_layers,
        lambda: (
            lambda model: {
                "model": model,
                "convert": lambda block: GMLayer.matching(block.first, block.second),
                "blocks": convert.find_blocks(model),
                "remove_dropout": True,
                "remove_norm": True,
            }
        )(net()),
    ),
    # flows
    "flows.hermite_nodes": Row(flows.hermite_nodes, lambda: {"dim": 2, "order": 3, "dtype": F64}),
    "flows.random_nodes": Row(
        flows.random_nodes, lambda: {"dim": 2, "number": 4, "generator": generator(), "dtype": F64}
    ),
    "flows.node_error": Row(
        flows.node_error,
        lambda: {
            "divergence": flows.Divergence(lambda x: x.square().sum(-1), flows.hermite_nodes(2, 4)),
            "mixture": flows.Roots(torch.zeros(1, 2, dtype=F64), torch.eye(2, dtype=F64)[None] / math.sqrt(2)),
            "number": 8,
            "generator": generator(),
        },
        {"divergence": "Divergence"},
    ),
    "flows.log_density": Row(flows.log_density, lambda: {"mixture": mixture(), "x": r(5, 2)}),
    "flows.Quadratic": Row(
        lambda precision, centre: flows.Quadratic(precision, centre)(mixture()),
        lambda: {"precision": spd(), "centre": r(2)},
    ),
    "flows.QuadraticInteraction": Row(
        lambda precision: flows.QuadraticInteraction(precision)(mixture()), lambda: {"precision": spd()}
    ),
    "flows.KernelDiscrepancy": Row(
        lambda target, bandwidth: flows.KernelDiscrepancy(target, bandwidth)(mixture()),
        lambda: {"target": mixture(), "bandwidth": 1.0},
    ),
    "flows.Divergence": Row(
        lambda potential, nodes: flows.Divergence(potential, nodes)(mixture()),
        lambda: {"potential": lambda x: x.square().sum(-1), "nodes": flows.hermite_nodes(2, 3)},
    ),
    "flows.Regularised": Row(
        lambda smooth, temperature: flows.Regularised(smooth, temperature)(mixture()),
        lambda: {"smooth": quadratic(), "temperature": 1.0},
    ),
    "flows.Supervised": Row(
        lambda **given: flows.Supervised(**given)(flows.Roots(r(3, 4), torch.eye(4, dtype=F64).repeat(3, 1, 1))),
        lambda: {"x": r(5, 3), "y": r(5, 1), "loss": F.mse_loss, "activation": "relu"},
        unread={"y": "targets are whatever the loss takes, and the mean over no columns is NaN"},
    ),
    "flows.Roots": Row(
        flows.Roots, lambda: {"mean": r(3, 2), "root": r(3, 2, 2), "weight": torch.full((3,), 1 / 3, dtype=F64)}
    ),
    "flows.Roots.particles": Row(
        flows.Roots.particles,
        lambda: {"points": r(3, 2), "weight": torch.full((3,), 1 / 3, dtype=F64)},
        {"points": "mean"},
    ),
    "flows.Covariances": Row(
        flows.Covariances, lambda: {"mean": r(3, 2), "cov": spd(3), "weight": torch.full((3,), 1 / 3, dtype=F64)}
    ),
    "flows.gradient": Row(flows.gradient, lambda: {"functional": quadratic(), "mixture": mixture()}),
    "flows.velocity": Row(flows.velocity, lambda: {"functional": quadratic(), "mixture": mixture(), "reaction": 0.5}),
    "flows.euler": Row(flows.euler, steps, TOO_FAR),
    "flows.rk4": Row(flows.rk4, steps, TOO_FAR),
    "flows.forward_backward": Row(
        flows.forward_backward,
        lambda: {**steps(), "functional": flows.Regularised(quadratic(), 1.0)},
        TOO_FAR,
    ),
    "flows.flow": Row(
        lambda **given: list(flows.flow(**given)),
        lambda: {
            "functional": quadratic(),
            "start": mixture(),
            "step": 0.1,
            "steps": 2,
            "method": flows.euler,
            "reaction": 0.5,
        },
        TOO_FAR,
    ),
    "flows.optim.component_groups": Row(optim.component_groups, lambda: {"model": layer(), "lr": 0.1}),
    "flows.optim.layer_groups": Row(optim.layer_groups, lambda: {"model": layer(), "lr": 0.1}),
    "flows.optim.WassersteinSGD": Row(optim.WassersteinSGD, lambda: {"groups": groups(), "momentum": 0.5}),
    "flows.optim.WassersteinAdam": Row(
        optim.WassersteinAdam, lambda: {"groups": groups(), "betas": (0.9, 0.99), "eps": 1e-8}
    ),
    "flows.optim.WassersteinSGD.step": Row(
        lambda closure: optim.WassersteinSGD(groups()).step(closure), lambda: {"closure": lambda: 1.0}, kinds=ANY
    ),
    "flows.optim.WassersteinAdam.step": Row(
        lambda closure: optim.WassersteinAdam(groups()).step(closure), lambda: {"closure": lambda: 1.0}, kinds=ANY
    ),
    "flows.transport.optimal_plan": Row(
        transport.optimal_plan,
        lambda: {
            "weight1": torch.full((3,), 1 / 3, dtype=F64),
            "weight2": torch.full((2,), 1 / 2, dtype=F64),
            "cost": r(3, 2),
        },
    ),
    "flows.transport.mixture_distance": Row(transport.mixture_distance, lambda: {"one": mixture(), "other": mixture()}),
    # diagnostics
    "diagnostics.NeuronMixture": Row(
        diagnostics.NeuronMixture,
        lambda: {
            "weight": torch.full((3,), 1 / 3, dtype=F64),
            "mean": r(3, 2),
            "var": r(3, 2),
            "factor": r(3, 2, 1),
        },
    ),
    "diagnostics.marginal": Row(diagnostics.marginal, lambda: {"layer": layer()}),
    "diagnostics.neurons": Row(diagnostics.neurons, lambda: {"weight": r(4, 3)}),
    "diagnostics.clustering": Row(diagnostics.clustering, lambda: {"mixture": neurons()}),
    "diagnostics.log_determinants": Row(diagnostics.log_determinants, lambda: {"mixture": neurons()}),
    "diagnostics.effective_components": Row(diagnostics.effective_components, lambda: {"layer": layer(), "x": r(5, 3)}),
    "diagnostics.component_displacements": Row(
        diagnostics.component_displacements, lambda: {"before": neurons(), "after": neurons()}
    ),
    "diagnostics.displacement": Row(diagnostics.displacement, lambda: {"before": neurons(), "after": neurons()}),
    "diagnostics.transport": Row(diagnostics.transport, lambda: {"before": neurons(), "after": neurons()}),
    "diagnostics.tangent_kernel": Row(
        diagnostics.tangent_kernel,
        lambda: {"model": net(), "x": r(5, 3), "parameters": lambda name: True, "chunk_size": 2},
    ),
    "diagnostics.kernel_drift": Row(
        diagnostics.kernel_drift,
        lambda: {"before": net(), "after": net(), "x": r(5, 3), "parameters": lambda name: True, "chunk_size": 2},
        unread={"x": "where a kernel is constant, as for one input, its alignment is NaN by definition"},
    ),
    "diagnostics.function_distance": Row(
        diagnostics.function_distance, lambda: {"one": net(), "other": net(), "x": r(5, 3)}
    ),
    "diagnostics.principal_components": Row(diagnostics.principal_components, lambda: {"mixture": neurons(), "k": 2}),
    "diagnostics.project": Row(
        diagnostics.project,
        lambda: {"mixture": neurons(), "components": diagnostics.principal_components(neurons())},
    ),
    # solve
    "solve.approximate": Row(
        solve.approximate,
        lambda: {**data(), **LIMITS, "max_components": 6, "callback": lambda step: None},
    ),
    "solve.fit": Row(
        solve.fit,
        lambda: {
            "module": module(),
            **data(),
            "row_weight": r(30),
            "rank_tolerance": 1e-14,
            "regularisation": 1e-8,
            "float32_tolerance": 1.0,
        },
        unread=dict.fromkeys(("x", "row_weight"), DEPENDENT),
    ),
    "solve.variable_projection": Row(
        solve.variable_projection,
        lambda: {"module": module(), **data(), "row_weight": r(30), **DESCENT, "callback": lambda step: None},
        unread=dict.fromkeys(("x", "row_weight"), DEPENDENT),
    ),
    "solve.widen": Row(
        solve.widen,
        lambda: {
            "module": module(),
            **data(),
            "row_weight": r(30),
            "factors": (1.0, 2.0),
            "regularisation": 1e-8,
        },
        {"factors": "factor", "row_weight": "rows"},
    ),
    "solve.collocate": Row(
        solve.collocate,
        lambda: {
            "module": GMNM(1, 1, 4, domain=(0, 1), dtype=F64),
            "problem": problem(),
            "points": 20,
            "importance": {"equation": 1.0, "boundary": 1.0},
            **DESCENT,
            "callback": lambda step: None,
        },
        {"problem": "Problem"},
    ),
    "solve.solve": Row(
        solve.solve,
        lambda: {"problem": problem(), **LIMITS, "callback": lambda step: None},
        {"problem": "Problem"},
    ),
    "solve.least_squares": Row(
        lambda matrix, target, weight, **options: solve.least_squares([(matrix, target, weight)], **options),
        lambda: {
            "matrix": r(9, 2),
            "target": r(9, 1),
            "weight": r(9),
            "rank_tolerance": 1e-14,
            "regularisation": 1e-8,
            "float32_tolerance": 1.0,
        },
        unread=dict.fromkeys(("matrix", "weight"), DEPENDENT),
    ),
    "solve.least_squares of blocks": Row(
        solve.least_squares, lambda: {"blocks": [(r(9, 2), r(9, 1))]}, {"blocks": "rows|block"}
    ),
    "solve.assign": Row(solve.assign, lambda: {"module": module(), "weight": r(5, 1)}),
    "solve.Box": Row(
        solve.Box,
        lambda: {"low": torch.zeros(2, dtype=F64), "high": torch.ones(2, dtype=F64)},
        {"low": "bound", "high": "bound"},
    ),
    "solve.Ball": Row(solve.Ball, lambda: {"centre": torch.zeros(2, dtype=F64), "radius": 1.0}, {"centre": "bounds"}),
    "solve.Polygon": Row(
        solve.Polygon, lambda: {"vertices": torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=F64)}, {"vertices": "vert"}
    ),
    "solve.SpaceTime": Row(
        solve.SpaceTime,
        lambda: {"space": solve.Box((0,), (1,)), "end": 1.0, "start": 0.0},
        {"end": "time", "start": "time", "space": "SpaceTime: expected"},
    ),
    "solve.Implicit": Row(
        solve.Implicit,
        lambda: {
            "function": lambda x: x.square().sum(1) - 1,
            "low": torch.full((2,), -1.0, dtype=F64),
            "high": torch.ones(2, dtype=F64),
        },
        {"low": "bound|box", "high": "bound|box"},
    ),
    "solve.PointCloud": Row(
        lambda interior, edge, normal: solve.PointCloud(interior, {"edge": solve.Points(edge, normal)}),
        lambda: {"interior": r(9, 2), "edge": r(9, 2), "normal": r(9, 2)},
    ),
    "solve.PointCloud of parts": Row(
        solve.PointCloud, lambda: {"interior": r(9, 2), "boundary": {"edge": r(9, 2)}}, {"boundary": "each kind"}
    ),
    "solve.Union": Row(solve.Union, lambda: {"a": square(), "b": square()}, {"a": "domain", "b": "domain"}),
    "solve.Difference": Row(
        solve.Difference, lambda: {"a": square(), "b": solve.Ball((0, 0), 0.5)}, {"a": "domain", "b": "domain"}
    ),
    "solve.Domain.inside": Row(lambda x: square().inside(x), lambda: {"x": r(5, 2)}),
    "solve.Domain.interior": Row(
        lambda n, held_out: square().interior(n, held_out=held_out), lambda: {"n": 5, "held_out": True}
    ),
    "solve.Domain.boundary": Row(
        lambda n, part, held_out: square().boundary(n, part, held_out=held_out),
        lambda: {"n": 5, "part": "low 0", "held_out": True},
    ),
    "solve.Domain.marked": Row(
        lambda points: square().marked({"middle": points}),
        lambda: {"points": torch.full((1, 2), 0.5, dtype=F64)},
        {"points": "middle"},
    ),
    "solve.l_shape": Row(solve.l_shape, dict),
    "solve.unknown": Row(solve.unknown, lambda: {"space": 2, "time": True, "name": "u"}),
    "solve.grad": Row(solve.grad, lambda: {"u": solve.unknown(2)}),
    "solve.laplacian": Row(solve.laplacian, lambda: {"u": solve.unknown(2)}),
    "solve.normal_derivative": Row(solve.normal_derivative, lambda: {"u": solve.unknown(2)}),
    "solve.dt": Row(solve.dt, lambda: {"u": solve.unknown(2, time=True)}),
    "solve.dot": Row(
        solve.dot,
        lambda: {"factors": (1.0, 2.0), "terms": solve.grad(solve.unknown(2))},
        {"factors": "factor", "terms": "term"},
    ),
    "solve.Expression.derivative": Row(lambda axis: solve.unknown(2).derivative(axis), lambda: {"axis": 1}),
    "solve.Expression of a factor": Row(
        lambda factor: factor * solve.unknown(2), lambda: {"factor": 2.0}, {"factor": "coefficient"}
    ),
    "solve.Expression of a divisor": Row(lambda divisor: solve.unknown(2) / divisor, lambda: {"divisor": 2.0}),
    "solve.Expression of a right-hand side": Row(lambda right: solve.unknown(2) == right, lambda: {"right": 2.0}),
    "solve.Problem": Row(
        lambda domain, equation, conditions: solve.Problem(domain, equation, conditions),
        lambda: (lambda u: {"domain": square(), "equation": u == 1, "conditions": {"boundary": u == 0}})(
            solve.unknown(2)
        ),
        {"conditions": "part"},
    ),
    "solve.residual": Row(
        solve.residual,
        lambda: {"problem": problem(), "u": GMNM(1, 1, 4, domain=(0, 1), dtype=F64), "x": torch.rand(5, 1, dtype=F64)},
    ),
    "solve.History.column": Row(
        lambda name: solve.History([solve.Iteration(0, 0.5, 0.1)]).column(name), lambda: {"name": "residual"}
    ),
    "solve.problems.advection_diffusion": Row(solve.problems.advection_diffusion, lambda: {"e": 0.1}),
    **{
        f"solve.problems.{make.__name__}": Row(make, dict)
        for make in (
            solve.problems.poisson_a,
            solve.problems.poisson_b,
            solve.problems.poisson_l,
            solve.problems.helmholtz,
            solve.problems.poisson_peak,
            solve.problems.heat,
            solve.problems.wave,
            solve.problems.poisson_3d,
            solve.problems.poisson_10d,
        )
    },
}

DATA = {
    "nn.GMNM.from_data": {"x", "y"},
    "convert.distill": {"x"},
    "convert.mlp_to_gm": {"x"},
    "convert.sampling_variance": {"x"},
    "convert.width_for": {"x"},
    "convert.Shift": {"bias"},
    "solve.approximate": {"x", "y"},
    "solve.fit": {"x", "y", "row_weight"},
    "solve.variable_projection": {"x", "y", "row_weight"},
    "solve.widen": {"x", "y", "row_weight"},
    "solve.least_squares": {"matrix", "target", "weight"},
    "solve.assign": {"weight"},
    "solve.Box": {"low", "high"},
    "solve.Ball": {"centre"},
    "solve.Polygon": {"vertices"},
    "solve.Implicit": {"low", "high"},
    "solve.PointCloud": {"interior", "edge", "normal"},
    "solve.Domain.inside": {"x"},
    "solve.Domain.marked": {"points"},
}
"""These arguments are data: arrays and lists are taken for the numbers that they are."""

RESULTS = {
    "functional.bures.Gaussian",
    "functional.gmnm.Derivatives",
    "nn.Law",
    "nn.Root",
    "nn.Rates",
    "convert.Block",
    "convert.GatedBlock",
    "convert.Fit",
    "convert.Swapped",
    "flows.Nodes",
    "flows.Moment",
    "flows.NodeError",
    "flows.Gradient",
    "flows.Velocity",
    "flows.optim.LayerGroup",
    "flows.transport.Transport",
    "diagnostics.Clustering",
    "diagnostics.KernelDrift",
    "diagnostics.PrincipalComponents",
    "diagnostics.Projection",
    "solve.Points",
    "solve.Rows",
    "solve.History",
    "solve.Iteration",
    "solve.Step",
    "solve.Refinement",
    "solve.Solution",
    "solve.Approximation",
    "solve.LeastSquares",
    "solve.VariableProjection",
    "solve.Widened",
    "solve.Equation",
    "solve.problems.Known",
}
"""These are results, which the library makes; what takes one, looks at what is in it."""

ABSTRACT = {"nn.Covariance", "nn.Form", "flows.Mixture", "flows.Method", "solve.Domain"}
"""These are made by subclasses, which stand in the table."""

INNER = {
    layers.Covariance: "a layer calls the methods of its family, with its parameters and an input that it has checked",
    layers.Form: "the module calls the methods of its form, with its parameters",
    flows.Mixture: "the integrators call these with what they have computed from a mixture",
    solve.Domain: "the solver calls these at every step with points of its own; `inside`, `interior`, `boundary` and "
    "`marked`, which users call, are attacked for the base class",
    GMNM: "`centred` is called by the module with an input that it has checked",
    solve.Expression: "`derivative` is attacked by its own row",
    flows.Supervised: "`outputs` takes the mixture that the functional is called with",
}
"""The public methods of these classes and of their subclasses that are in no row, each with the reason."""


# --- hostile values ------------------------------------------------------------------------------------------

STRANGERS: dict[str, Callable[[], object]] = {
    "None": lambda: None,
    "text": lambda: "no such thing",
    "number": lambda: 2.5,
    "list": lambda: [1.0, 2.0],
    "dict": lambda: {"a": 1.0},
    "object": object,
    "array": lambda: np.ones(3),
    "tensor": lambda: torch.ones(3),
    "class": lambda: nn.Linear,
}
"""These do not belong where a tensor, a module, a function or an object of the library is wanted."""

NUMBERS: dict[str, Callable[[], object]] = {
    "None": lambda: None,
    "text": lambda: "1",
    "True": lambda: True,
    "0": lambda: 0,
    "-1": lambda: -1,
    "half": lambda: 0.5,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "huge": lambda: 1e300,
    "huge whole number": lambda: 10**30,
    "beyond float": lambda: 10**400,
    "complex": lambda: 1j,
    "list": lambda: [1.0],
    "object": object,
    "two numbers": lambda: torch.ones(2),
    "meta": lambda: torch.ones((), device="meta"),
    "array": lambda: np.ones(2),
}


def tensors(t: Tensor) -> Iterator[tuple[str, object]]:
    """Yield what may stand in the place of a tensor by mistake."""
    yield "list", t.tolist()
    yield "array", t.numpy()
    yield "one axis more", t.unsqueeze(0)
    yield "one axis more behind", t.unsqueeze(-1)
    yield "no axis", t.flatten()[0]
    if t.ndim:
        yield "one axis less", t[0]
        yield "empty", t[:0]
        for axis in range(t.ndim):
            yield f"size 1 of axis {axis}", t.narrow(axis, 0, 1)
    if t.ndim > 1:
        yield "no columns", t[..., :0]
    for name, number in {"nan": math.nan, "inf": math.inf, "huge": 1e300, "tiny": 1e-300}.items():
        yield name, t * number
        one = t.clone()
        one.view(-1)[0] = number
        yield f"one {name}", one
    yield "negative", -t
    yield "zero", torch.zeros_like(t)
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float16, torch.bfloat16, torch.float32):
        yield str(dtype), t.to(dtype)
    yield "quantized", torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8)
    yield "sparse", t.to_sparse()
    if t.ndim == 2:
        yield "sparse rows", t.to_sparse_csr()
    yield "meta", t.to("meta")
    yield "nested", torch.nested.nested_tensor([t.flatten(), t.flatten()[:1]])


def forms(t: Tensor) -> Iterator[tuple[str, object]]:
    """Yield the same numbers in another form."""
    yield "strided", torch.stack([t, t + 1], -1)[..., 0]
    yield "transposed in memory", t.mT.contiguous().mT if t.ndim > 1 else t.clone()
    yield "with a gradient", t.clone().requires_grad_()
    yield "parameter", nn.Parameter(t.clone())


def arrays(t: Tensor) -> Iterator[tuple[str, object]]:
    """Yield the same numbers as users have them."""
    a = t.numpy()
    locked = a.copy()
    locked.flags.writeable = False
    yield "array", a
    yield "list", t.tolist()
    yield "tuple", tuple(t.tolist())
    yield "read-only array", locked
    yield "reversed array", np.ascontiguousarray(a[::-1])[::-1]
    yield "array of other order", np.asfortranarray(a)
    yield "big-endian array", a.astype(a.dtype.newbyteorder(">"))
    yield "array of objects", a.astype(object)
    yield "masked array", np.ma.masked_array(a, np.zeros_like(a, dtype=bool))
    if t.ndim == 1:
        yield "series", pd.Series(a, index=range(5, 5 + len(a)))
        yield "nullable series", pd.Series(a).astype("Float64")
        yield "list of scalars", list(a)
        yield "list of tensors", list(t)
    if t.ndim == 2:
        yield "frame", pd.DataFrame(a)
        yield "list of arrays", list(a)
        yield "list of series", [pd.Series(row) for row in a]


def no_data(t: Tensor) -> Iterator[tuple[str, object]]:
    """Yield arrays and lists that are no numbers."""
    a = t.numpy()
    yield "ragged list", [[1.0], [1.0, 2.0]]
    yield "list of texts", ["1", "2"]
    yield "empty list", []
    yield "list of None", [None, 1.0]
    yield "array of texts", a.astype(str)
    yield "array of complex numbers", a + 1j
    yield "array of dates", a.astype("datetime64[s]")
    yield "array of records", np.zeros(2, dtype=[("a", float)])
    yield "array with None", np.array([None, *a.flatten()[1:]], dtype=object)
    yield "array with text", np.array(["1", *a.flatten()[1:]], dtype=object)
    yield "masked array", np.ma.masked_array(a, np.ones_like(a, dtype=bool))
    yield "series with NA", pd.Series([pd.NA, *a.flatten()[1:]], dtype="Float64")
    yield "series of texts", pd.Series(["a"] * t.numel())
    yield "categories", pd.Series(["a"] * t.numel()).astype("category")
    yield "dates", pd.Series(pd.date_range("2020", periods=t.numel()))
    yield "number beyond float64", [10**400]


def hostile(row: str, name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield what is to stand in the place of a good argument, with a name, by the kind of the good one."""
    if isinstance(value, Tensor):
        yield from ((k, make()) for k, make in STRANGERS.items() if k not in ("list", "array", "tensor"))
        for k, v in tensors(value):
            if not (name in DATA.get(row, ()) and k in ("list", "array")):
                yield k, v
        if name in DATA.get(row, ()):
            yield from no_data(value)
        return
    if isinstance(value, bool):
        values: Mapping[str, Callable[[], object]] = {**STRANGERS, "1.0": lambda: 1.0}
    elif isinstance(value, int | float):
        values = NUMBERS
    elif isinstance(value, str):
        values = {**STRANGERS, "bytes": lambda: b"relu", "empty": lambda: ""}
    elif isinstance(value, tuple | list | dict) and not hasattr(value, "_asdict"):
        values = {**STRANGERS, "empty": type(value), "of None": lambda: [None], "set": set, "True": lambda: True}
    elif isinstance(value, torch.dtype):
        values = {k: (lambda d=d: d) for k, d in {"int": torch.int64, "complex": torch.complex64}.items()}
        values |= {
            **STRANGERS,
            "bool": lambda: torch.bool,
            "float8": lambda: torch.float8_e4m3fn,
            "type": lambda: float,
        }
    elif callable(value) and not isinstance(value, nn.Module):
        values = {
            **{kind: make for kind, make in STRANGERS.items() if kind != "class"},  # what that raises is its own
            "without arguments": lambda: lambda: 1.0,
            "returns None": lambda: lambda *given: None,
            "returns text": lambda: lambda *given: "no",
            "returns a number": lambda: lambda *given: 1.0,
            "returns another shape": lambda: lambda *given: torch.ones(2, 3, 4, 5),
            "returns whole numbers": lambda: lambda *given: torch.ones(1, dtype=torch.int64),
        }
    else:
        values = {**STRANGERS, "other module": nn.Identity, "True": lambda: True}
    yield from ((k, make()) for k, make in values.items())


# --- what is asked for ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def called(call: Callable[..., object], given: Good) -> object:
    """Return what a call returns, or the exception that it raised."""
    torch.manual_seed(1)
    with warnings.catch_warnings(), limited(SECONDS):
        warnings.simplefilter("ignore")
        try:
            return call(**given)
        except Exception as error:
            return error


def good(row: Row) -> Good:
    torch.manual_seed(0)
    return row.good()


def leaves(value: object) -> Iterator[object]:
    """Yield the tensors and numbers of a result, but no times."""
    if isinstance(value, nn.Module):
        yield from value.state_dict().values()
    elif isinstance(value, flows.Mixture):
        yield from (value.mean, value.spread, value.weight)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name != "seconds":
                yield from leaves(part)
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        yield from leaves(value._asdict())  # pyright: ignore
    elif isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from leaves({f.name: getattr(value, f.name) for f in fields(value)})
    elif isinstance(value, Tensor | float):
        yield value


def finite(value: object) -> bool:
    """Return whether all numbers are finite; those without a device are."""
    if isinstance(value, Tensor | np.ndarray | float | list | tuple):
        try:
            return all(bool(torch.as_tensor(v).isfinite().all()) for v in leaves(value) if not getattr(v, "is_meta", 0))
        except RuntimeError:  # nested, sparse
            return False
    return True


def same(one: object, other: object) -> bool:
    a, b = ([v.detach() for v in leaves(x) if isinstance(v, Tensor)] for x in (one, other))
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.allclose(x.double(), y.double(), rtol=1e-9, atol=1e-12, equal_nan=True)
        for x, y in zip(a, b)
    )


def complaint(row: Row, name: str, error: Exception) -> str | None:
    """Return what is wrong with an error, or None if it is one of ours."""
    if isinstance(error, TimeoutError):
        return f"took more than {SECONDS:g} s"
    text = str(error)
    *_, last = traceback.extract_tb(error.__traceback__)
    ours = Path(last.filename).is_relative_to(HERE)
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    where = f"{Path(last.filename).name}:{last.lineno}"
    if not isinstance(error, (ValueError, TypeError, *row.others)):
        return f"{type(error).__name__} from {where}: {text[:150]!r}"
    if not (ours and line.startswith("raise ")):
        return f"{type(error).__name__} that is not ours, from {where}: {text[:150]!r}"
    if "\n" in text or not text:
        return f"not one line: {text!r}"
    if not any(word in text for word in (name, *row.names.get(name, name).split("|"))):
        return f"does not name the argument: {text!r}"
    return None


def far_from(kind: str) -> bool:
    """Return whether numbers are not so large that results need not be finite."""
    return "huge" not in kind and "beyond" not in kind


def attack(key: str) -> tuple[int, list[str]]:
    """Return the number of calls, and all complaints."""
    row, found, calls = ROWS[key], [], 1
    result = called(row.call, good(row))
    if isinstance(result, Exception):
        return 1, [f"{key}: the good arguments: {result!r}"]
    result_is_finite = finite(result)
    for name, value in good(row).items():
        if name in row.untried:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some kinds of tensors are new, some are old
            values = list(hostile(key, name, value))
        for kind, bad in values:
            given = good(row) | {name: bad}
            calls += 1
            answer = called(row.call, given)
            wrong = None
            if isinstance(answer, Exception):
                wrong = complaint(row, name, answer)
            elif type(answer) not in (type(result), *row.kinds):
                wrong = f"made a {type(answer).__name__}, not a {type(result).__name__}"
            elif result_is_finite and name not in row.unread and far_from(kind) and finite(bad) and not finite(answer):
                wrong = "made numbers that are not finite"
            if wrong:
                found.append(f"{key}({name}={kind}): {wrong}")
        if isinstance(value, Tensor):
            taken = name in DATA.get(key, ())
            several = [*forms(value), *(arrays(value) if taken else ())]
            for kind, other in several:
                calls += 1
                answer = called(row.call, good(row) | {name: other})
                wrong = None
                if isinstance(answer, Exception):
                    refused_gradient = kind in ("with a gradient", "parameter") and "gradient" in str(answer)
                    wrong = complaint(row, name, answer) if refused_gradient else f"refused: {answer!r}"
                elif not same(answer, result):
                    wrong = "is another answer than for the same numbers"
                if wrong:
                    found.append(f"{key}({name}={kind}): {wrong}")
            view = value[:1].expand_as(value) if value.ndim else value.expand(())
            calls += 2
            one, other = (called(row.call, good(row) | {name: v}) for v in (view, view.clone()))
            if type(one) is not type(other) or not same(one, other):
                found.append(f"{key}({name}=expanded): is another answer than for the same numbers: {one!r}"[:300])
    return calls, found


COUNT = {"calls": 0}


@pytest.mark.parametrize("key", ROWS)
def test_what_does_not_belong_is_refused_or_right(key):
    start = time.perf_counter()
    calls, complaints = attack(key)
    COUNT["calls"] += calls
    print(f"{key}: {calls} calls in {time.perf_counter() - start:.2f} s; {COUNT['calls']} so far")  # noqa: T201
    assert not complaints, f"{len(complaints)} of {calls} calls:\n" + "\n".join(complaints)


COLUMNS = {
    "nn.GMNM.from_data": "y",
    "solve.approximate": "y",
    "solve.fit": "y",
    "solve.variable_projection": "y",
    "solve.widen": "y",
    "solve.least_squares": "target",
    "solve.assign": "weight",
}
"""These targets may be given without the axis of the outputs, of which there is one."""


@pytest.mark.parametrize("key", COLUMNS)
def test_a_target_of_one_axis_is_one_column(key):
    row, name = ROWS[key], COLUMNS[key]
    want = called(row.call, good(row))
    flat = good(row)[name][:, 0]
    for given in (flat, flat.numpy(), flat.tolist(), pd.Series(flat.numpy()), pd.Series(flat.numpy(), dtype="Float64")):
        answer = called(row.call, good(row) | {name: given})
        assert not isinstance(answer, Exception), repr(answer)
        assert same(answer, want)


# --- nothing is left out -------------------------------------------------------------------------------------

PACKAGES = (
    "functional",
    "functional.bures",
    "functional.gmnm",
    "functional.normal",
    "functional.quadrature",
    "ops",
    "nn",
    "convert",
    "flows",
    "flows.optim",
    "flows.transport",
    "diagnostics",
    "solve",
    "solve.problems",
)


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public callable of the library with its name."""
    for package in PACKAGES:
        home = importlib.import_module(f"gmlayers.{package}")
        listed = getattr(home, "__all__", None)
        for name, value in vars(home).items():
            if name.startswith("_") or not callable(value) or (listed is not None and name not in listed):
                continue
            of_package = value.__module__ == home.__name__ or str(home.__file__).endswith("__init__.py")  # not imported
            if of_package and value.__module__.startswith("gmlayers"):
                yield f"{package}.{name}", value


PUBLIC = dict(public())


def test_every_public_callable_is_attacked():
    """A new one must be put into the table, or into the lists beside it with a reason."""
    missing = set(PUBLIC) - {key.partition(" ")[0] for key in ROWS} - RESULTS - ABSTRACT
    assert not missing, f"in no row: {sorted(missing)}"
    assert set(PUBLIC) >= RESULTS | ABSTRACT, sorted((RESULTS | ABSTRACT) - set(PUBLIC))


def test_every_public_method_is_attacked():
    attacked = {key.partition(" ")[0] for key in ROWS}
    missing = []
    for key, value in PUBLIC.items():
        if not inspect.isclass(value) or key in (RESULTS - {"solve.History"}) or issubclass(value, tuple(INNER)):
            continue
        for name in vars(value):
            takes = [] if name.startswith("_") or not callable(getattr(value, name)) else [*signature(value, name)]
            if takes and f"{key}.{name}" not in attacked:
                missing.append(f"{key}.{name}")
    assert not missing, f"in no row: {missing}"
    assert all(reason for reason in INNER.values())


def signature(owner: type, name: str) -> list[str]:
    """Return the parameters of a method that may be attacked."""
    bound = isinstance(vars(owner)[name], classmethod)
    return [*inspect.signature(getattr(owner, name)).parameters][0 if bound else 1 :]


def test_rows_are_of_the_table():
    """Data are named by arguments that there are, and every argument has a kind that is attacked."""
    for key, names in DATA.items():
        assert names <= set(good(ROWS[key])), key
    for key, row in ROWS.items():
        named = {*row.names, *row.untried, *row.unread}
        assert named <= set(good(row)) | set(TOO_FAR), key


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (lambda: torch.ones(2) @ torch.ones(3), "RuntimeError"),
        (lambda: (_ for _ in ()).throw(ValueError("a\nb")), "not ours"),
        (lambda: GMLayer(3, 2, 0), "does not name"),
    ],
)
def test_the_battery_sees_what_is_no_error_of_ours(error, word):
    caught = called(error, {})
    assert isinstance(caught, Exception)
    assert word in str(complaint(Row(error, dict), "x", caught))


def test_the_battery_sees_answers_that_are_wrong():
    ROWS["wrong"] = Row(lambda x: torch.full((3,), math.nan) if x is None else x.sum().item(), lambda: {"x": r(3)})
    try:
        _, complaints = attack("wrong")
    finally:
        del ROWS["wrong"]
    text = "\n".join(complaints)
    assert "wrong(x=None): made a Tensor, not a float" in text
    assert "wrong(x=text)" in text


# --- what goes through ---------------------------------------------------------------------------------------


class Labelled(Tensor):
    """A tensor with a type of its own, as libraries have them."""


LAYERS = {
    "GMLayer": (lambda: GMLayer(3, 2, 4), 3),
    "GMLayer diagonal": (lambda: GMLayer(3, 2, 4, covariance="diagonal", activation="gelu"), 3),
    "folded": (lambda: convert.fold(GMLayer(3, 2, 4)), 3),
    "GMNM": (lambda: GMNM(2, 1, 4, domain=(-1, 1)), 2),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.trace(_method)?. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_the_checks_let_all_kinds_of_tensors_through(name):
    make, features = LAYERS[name]
    module, x = make(), torch.rand(6, features)
    want = module(x)

    def close(found: Tensor) -> None:
        torch.testing.assert_close(found.as_subclass(Tensor), want)

    close(module(nn.Parameter(x)))
    close(module(x.as_subclass(Labelled)))
    close(module(x.t().contiguous().t()))
    close(torch.vmap(module)(x))
    close(torch.vmap(lambda row: module(row.unsqueeze(0)).squeeze(0))(x))
    close(torch.func.functional_call(module, dict(module.named_parameters()), (x,)))
    assert torch.func.jacrev(module)(x[0]).shape == (want.shape[1], features)
    assert torch.func.jacfwd(module)(x[0]).shape == (want.shape[1], features)
    traced: Any = torch.jit.trace(module, x[:2], check_trace=False)
    close(traced(x))
    close(torch.compile(module, backend="eager", fullgraph=True)(x))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert module(mode.from_tensor(x)).shape == want.shape
    module.to("meta")
    assert module(x.to("meta")).is_meta
    with pytest.raises(ValueError, match="expected an input on meta, where the parameters are, got one on cpu"):
        module(x)
