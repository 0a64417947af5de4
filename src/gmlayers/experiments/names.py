"""What can be named on the command line, each with a line of text; ``gmlayers list`` imports nothing heavier."""

from __future__ import annotations

from collections.abc import Mapping

DATA: Mapping[str, str] = {
    "digits": "1 797 grey 8x8 images of digits, part of scikit-learn: no download",
    "mnist": "70 000 grey 28x28 images of handwritten digits",
    "fashion-mnist": "70 000 grey 28x28 images of clothes",
    "cifar10": "60 000 colour 32x32 images of 10 kinds of things",
    "cifar100": "60 000 colour 32x32 images of 100 kinds of things",
}
"""The table has a line for every public data set."""

MODELS: Mapping[str, str] = {
    "low_rank": "GM layer, joint low-rank covariance: the library's default",
    "shared_factor": "GM layer, with factors that all components share: our lowest error at a given size",
    "diagonal": "GM layer, diagonal covariance with full coupling: the paper's function class, better trained",
    "paper": "GM layer of Chewi, Rigollet and Yan (2025), K = 20, plain SGD",
    "fc": "Linear - activation - Linear: what a GM layer replaces",
    "fc_mean": "the same without biases, in mean-field scaling 1/width, plain SGD",
}
"""The table has a line for every model of :data:`gmlayers.experiments.models.MODELS`."""

ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "abs",
    "step",
    "erf",
    "gelu",
    "sin",
    "cos",
    "square",
    "relu_squared",
    "gaussian",
    "identity",
    "softplus",
    "silu",
    "sigmoid",
    "tanh",
    "quick_gelu",
    "gelu_tanh",
    "gelu_integral",
    "silu_integral",
    "gelu_tanh_integral",
)
"""These are the keys of :data:`gmlayers.functional.ACTIVATIONS`."""

OPTIMIZERS = ("adam", "adamw", "sgd", "wasserstein-sgd", "wasserstein-adam")
"""These are the keys of :data:`gmlayers.experiments.trainer.OPTIMIZERS`."""

SCHEDULES = ("one-cycle", "cosine", "constant")
"""These are the keys of :data:`gmlayers.experiments.trainer.SCHEDULES`."""
