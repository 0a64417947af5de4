"""Image classifiers with blocks of Gaussian neurons and of bumps in them, beside those they would replace."""

from __future__ import annotations

from gmlayers_studies.hosts.image_blocks import PATCH_BLOCKS, PIXEL_BLOCKS
from gmlayers_studies.hosts.images import JPEG, KINDS, ImageHost
from gmlayers_studies.hosts.report import Measure, Pair, mean_of, report
from gmlayers_studies.hosts.run import BlockEntrant
from gmlayers_studies.study import Extent, Profile, Steps, Study

RATES = (1.5e-3, 4e-3, 1e-2, 2.5e-2)
"""These rates are tried of every block in every kind of host, with a seed that has no part in the test."""

BLOCKS = tuple(dict.fromkeys([*PIXEL_BLOCKS, *PATCH_BLOCKS]))

OURS = tuple(name for name in BLOCKS if name.startswith("GM"))
OTHERS = tuple(name for name in BLOCKS if name not in OURS)

PAIRS = (
    Pair(OURS, OTHERS, "is the best of ours better than the best of the others"),
    Pair("GM", "GELU", "is a GM block better than GELU"),
    Pair("GM", "SwiGLU", "is a GM block better than SwiGLU"),
    Pair("GM, gate", "SwiGLU", "is a gate of a GM block better than SwiGLU"),
    Pair("GMNM, ridges", "GELU", "are bumps of ridges better than GELU"),
    Pair("GMNM, distances", "GELU", "are bumps of distances better than GELU"),
    Pair("GMNM, quadratic forms", "GELU", "are bumps of quadratic forms better than GELU"),
    Pair("GMNM, fixed centres", "GELU", "are bumps at fixed centres better than GELU"),
)

ERROR = Measure(
    "error",
    "error, %",
    "makes",
    "points of error",
    2,
    "Errors are those of the test images after the last step; the gap is by how much they are more than those of the "
    "first 10 000 training images. Calibration is the expected calibration error, with 15 bins. A step keeps so many "
    "MB for its backward pass.",
    100,
    {
        "gap, %": lambda rows: mean_of("error", ".2f", 100)(
            [{"error": row["error"] - row["train_error"]} for row in rows]
        ),
        "calibration, %": mean_of("calibration", ".2f", 100),
        "MB kept": mean_of("kept", ".0f", 1e-6),
    },
)


def on(data: str) -> dict[str, ImageHost]:
    """Return all kinds of hosts on a data set."""
    return {task: ImageHost.of(task) for task in (f"{kind} on {data}" for kind in KINDS)}


DATA = ("fashion-mnist", "mnist", JPEG)
TASKS = tuple(f"{kind} on {data}" for kind in KINDS for data in DATA)
FEW = "CNN on 5000 of fashion-mnist"
"""This task shows what is learned by heart: it has twenty-four epochs of few images."""

STUDY = Study(
    name="classification",
    title="Blocks in small image classifiers, at the size of one",
    claim="blocks of Gaussian neurons or bumps classify images better than others of their size, and overfit less",
    contestants=tuple(BlockEntrant(name, RATES, ImageHost.of) for name in BLOCKS),
    profiles={
        "smoke": Profile(tuple(on("digits")), Extent((0, 1, 2), (Steps(3),))),
        "quick": Profile(("CNN on fashion-mnist",), Extent((0,), (Steps(200),))),
        "full": Profile((TASKS[0], FEW, *TASKS[1:]), Extent((0, 1, 2), (Steps(940),))),
    },
    report=report(PAIRS, "GELU", ERROR),
    tasks={task: ImageHost.of(task) for task in (*TASKS, FEW)} | on("digits"),
    on=on,
    claims=("C3", "C7"),
    note=(
        "CNN: a depthwise convolution and a block at every pixel, at a half and a quarter of the resolution, 24 and 48 "
        "channels wide. ResNet: three blocks over 3 × 3 patches; GELU is a convolution, GELU, and a convolution of "
        "1 × 1, GM a `GMConv2d`, ridges a `GMNMConv2d`. ViT: two layers, 48 wide, on patches of 4 × 4. All train for "
        "940 steps of 128 images, which are two epochs of MNIST, by AdamW and a cycle of the rate. The rate of each "
        "block is chosen once for each kind of net, on the held-out last training images of Fashion-MNIST. "
        "cifar10-jpeg is a copy of CIFAR-10 as JPEG files of quality 75: lossy, and not CIFAR-10."
    ),
)
