"""Feed-forward blocks in a small language model over bytes: what Gaussian neurons buy, and whether they do."""

from __future__ import annotations

from gmlayers_studies.hosts.language import BLOCKS, ByteHost
from gmlayers_studies.hosts.report import Measure, Pair, report
from gmlayers_studies.hosts.run import BlockEntrant
from gmlayers_studies.study import Extent, Profile, Steps, Study

RATES = (3e-3, 6e-3, 1.2e-2)
"""These rates are tried of every block at every width, with a seed that has no part in the test."""

OURS = "GMFeedForward"

RANK_2 = "GMFeedForward, rank 2"
"""It takes part in `language` alone."""

BITS = Measure(
    "bits",
    "bits a byte",
    "needs",
    "bits a byte",
    3,
    "Bits a byte are those of the test files after the last step.",
)

HOSTS = {f"width {width}": ByteHost(width) for width in (16, 64, 96)}

PAIRS = (
    Pair(OURS, "MLP, GELU", "is it better than a GELU MLP"),
    Pair(OURS, "SwiGLU", "is it better than SwiGLU"),
    Pair(OURS, "GMFeedForward, no variance", "is the variance worth something"),
    Pair("GMFeedForward, gate alone", "GEGLU", "is a gate with variance better than GEGLU"),
    Pair("GMFeedForward, no variance", "MLP, GELU", "are neurons with their tangents better than a GELU MLP"),
    Pair("GMFeedForward, level alone", "MLP, GELU", "are levels alone better than a GELU MLP"),
    Pair("GMLayer as it is", "MLP, GELU", "is the layer with its defaults better than a GELU MLP"),
    Pair("GMNMFeedForward", "MLP, GELU", "are bumps better than a GELU MLP"),
)

STUDY = Study(
    name="blocks",
    title="Feed-forward blocks in a language model over bytes, at the size of one MLP",
    claim="a block of Gaussian neurons needs fewer bits a byte than an MLP of its size",
    contestants=tuple(BlockEntrant(name, RATES, HOSTS.__getitem__) for name in BLOCKS if name != RANK_2),
    profiles={
        "smoke": Profile(("width 16",), Extent((0, 1, 2), (Steps(3),))),
        "quick": Profile(("width 64",), Extent((0,), (Steps(100),))),
        "full": Profile(("width 64", "width 96"), Extent((0, 1, 2, 3, 4), (Steps(400),))),
    },
    tasks=HOSTS,
    report=report(PAIRS, "MLP, GELU", BITS),
    note=(
        "The models have two layers and read 128 bytes of the sources of Python's standard library, of which every "
        "tenth file is for validation and another tenth for the test. The coordinates and the start of GMFeedForward "
        "were found before on such models, at widths 64 and 96 with three seeds, by some thirty runs that had no test "
        "files apart."
    ),
)
