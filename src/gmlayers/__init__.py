"""Neural-network layers whose neurons are distributions.

A name is imported when it is first asked for, so that ``import gmlayers`` alone does not import torch. Type checkers
read the names in ``__init__.pyi``.
"""

# pyright: reportUnsupportedDunderAll=false

__all__ = [
    "GMLSTM",
    "GMNM",
    "GMNMGRU",
    "GMNMLSTM",
    "PAPER_RATES",
    "AxisAligned",
    "Diagonal",
    "Full",
    "GMConv1d",
    "GMConv2d",
    "GMFeedForward",
    "GMLayer",
    "GMNMAttention",
    "GMNMConv2d",
    "GMNMFeedForward",
    "LowRank",
    "Mahalanobis",
    "MixtureHead",
    "Regression",
    "Ridge",
    "SharedFactor",
    "convert",
    "diagnostics",
    "flows",
    "functional",
    "ops",
    "parameter_groups",
    "plot",
    "solve",
]
"""The list leaves out ``nn``, so that a star import does not hide ``torch.nn``."""

_PACKAGES = frozenset({"convert", "diagnostics", "flows", "functional", "nn", "ops", "plot", "solve"})


def __getattr__(name: str) -> object:
    from importlib import import_module, metadata

    if name == "__version__":
        value: object = metadata.version("gmlayers")
    elif name in _PACKAGES:
        value = import_module(f"gmlayers.{name}")
    elif name in __all__:
        value = getattr(import_module("gmlayers.nn"), name)
    else:
        raise AttributeError(f"module 'gmlayers' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *__all__, "__version__"})
