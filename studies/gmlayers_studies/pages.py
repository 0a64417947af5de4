"""The pages: which studies stand on one, under which name, and how it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gmlayers_studies.study import Finding


@dataclass(frozen=True)
class Page:
    """Studies that have a name together."""

    studies: tuple[str, ...]
    heading: str
    summary: Callable[[Sequence[Finding]], Sequence[str]] = lambda _: ()
    """Makes the lines that sum the findings up."""


def _claims(found: Sequence[Finding]) -> list[str]:
    from gmlayers_studies.methods.claims import claims  # which is for studies of methods alone

    return claims([finding.judged for finding in found])


PAGES = {
    "gm-paper": Page(
        (
            *("fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "dynamics", "tuning", "finalists"),
            *("practical", "cifar"),
            *("ladder-rates", "ladder", "rates", "optimizers"),
        ),
        """# The experiments of the paper on Gaussian mixture layers

**In short.** As published, the layer makes about twice as many errors as a wide, fully connected net. Trained in other
coordinates, with factors that its components share, it is better than a fully connected net of its size on
Fashion-MNIST and level with it on MNIST. Its dynamics differ from those of wide nets: the kernel changes far more.

Each figure of S. Chewi, P. Rigollet, Y. Yan, *Gaussian mixture layers for neural networks* (TMLR 2025) stands here
beside the claim it is shown for and what our records say of it; then comes what goes beyond the paper. The paper gives
curves, no numbers. All of this page is made from the records in the folder of the figures by `gmlayers plot gm-paper`.
""",
    ),
    "gmnm": Page(
        ("fit2d", "feynman", "poisson"),
        """# Gaussian mixture modules against other approximators

**In short.** Where a function or a solution is smooth, the solvers are many digits ahead of networks trained by
gradients, and sooner. With as few numbers as a small network has, they are level with the best of them. Trained by
gradients, the modules gain next to nothing.

The claims of W. Lu, G. Yuan, H.-K. Zhang, S. Li, *Rethinking Nonlinearity: Trainable Gaussian Mixture Modules for
Modern Neural Architectures* (arXiv 2510.06660, 2025) on functions and Poisson's equation stand here beside what our
records say of them. We know of no numbers of the paper. How the projections of a bump are put together can be read in
two ways: `mahalanobis`, our default, and `ridge`; both are shown. All of this page is made from the records in the
folder of the figures by `gmlayers plot gmnm`.

- C1: on functions a lower error, and sooner, than KAN and MLP.
- C2: on Poisson's equation a lower error, and sooner, than KAN, MLP and PINN.
- C6: often fewer parameters, and no slower.

A part of a claim is marked as confirmed where each of its comparisons is borne out, with the best peer that is allowed
as many seconds and at most as many parameters, and what is claimed to be often so where more than half are; "in part"
says in how many it is. "No slower" is judged by whether the module is sooner: what is refuted is slower.
""",
        _claims,
    ),
    "networks": Page(
        ("blocks", "language", "listops", "classification", "forecasting"),
        """# Layers and blocks inside networks

**In short.** In a small language model a feed-forward block of Gaussian neurons beats a GELU MLP of its size and is
level with gated blocks; the variance of the neurons has not shown itself.

What the blocks of the library buy inside of networks, beside those that they replace, at equal numbers of parameters.
All of this page is made from the records in the folder of the figures by `gmlayers plot networks`.
""",
    ),
}
"""The table has the pages by their names."""
