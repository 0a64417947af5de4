"""A language model over bytes of half a million parameters: what blocks and attention of mixtures are worth there."""

from __future__ import annotations

from gmlayers_studies.hosts.language import ByteHost
from gmlayers_studies.hosts.report import Pair, report
from gmlayers_studies.hosts.run import BlockEntrant
from gmlayers_studies.papers.blocks import BITS
from gmlayers_studies.study import Extent, Profile, Steps, Study

RATES = (3e-3, 6e-3, 1.2e-2)
"""These rates are tried of everything, with a seed that has no part in the test."""

FIVE = ("MLP, GELU", "SwiGLU", "GMFeedForward", "GMNM attention, 2 components")
THREE = (
    "MLP, squared ReLU",
    "GEGLU",
    "GMFeedForward, rank 2",
    "GMFeedForward, no variance",
    "GMFeedForward, gate alone",
    "GMNMFeedForward",
    "GMNM attention, 1 component",
    "GMNM attention, 4 components",
)

PAIRS = (
    Pair("GMFeedForward", "MLP, GELU", "is it better than a GELU MLP"),
    Pair("GMFeedForward", "SwiGLU", "is it better than SwiGLU"),
    Pair("GMFeedForward, rank 2", "GMFeedForward", "is rank 2 better than rank 1"),
    Pair("GMFeedForward", "GMFeedForward, no variance", "is the variance worth something"),
    Pair("GMFeedForward, gate alone", "GEGLU", "is a gate with variance better than GEGLU"),
    Pair("GMNMFeedForward", "MLP, GELU", "are bumps better than a GELU MLP"),
    Pair("GMNM attention, 1 component", "MLP, GELU", "is attention by distance better than softmax"),
    Pair("GMNM attention, 2 components", "MLP, GELU", "is attention by mixtures better than softmax"),
    Pair("GMNM attention, 4 components", "GMNM attention, 1 component", "are four components better than one"),
)


def host(task: str) -> ByteHost:
    """Return the host of a task, such as ``"width 128"``."""
    return ByteHost(int(task.removeprefix("width ")), whole=True)


STUDY = Study(
    name="language",
    title="Blocks and attention of mixtures in a language model over bytes, trained for long",
    claim="a block of Gaussian neurons and attention by mixtures need fewer bits a byte at half a million parameters",
    contestants=tuple(BlockEntrant(name, RATES, host) for name in (*FIVE, *THREE)),
    profiles={
        "smoke": Profile(("width 16",), Extent((0, 1, 2), (Steps(2),))),
        "quick": Profile(("width 64",), Extent((0,), (Steps(100),))),
        "full": Profile(
            ("width 128",),
            Extent((0, 1, 2, 3, 4), (Steps(2000),)),
            but={name: Extent((0, 1, 2), (Steps(2000),)) for name in THREE},
        ),
    },
    report=report(PAIRS, "MLP, GELU", BITS),
    tasks={task: host(task) for task in ("width 16", "width 64", "width 128")},
    claims=("C7",),
    note=(
        "The model has two layers of width 128 with four heads, and reads 128 bytes of the sources of Python's "
        "standard library, split by file. Attention by mixtures stands beside a GELU MLP. Parameters are those of the "
        "whole model."
    ),
)
