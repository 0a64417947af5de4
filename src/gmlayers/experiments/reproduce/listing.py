"""The names of the experiments for ``gmlayers list``; importing them here is quick."""

from __future__ import annotations

TITLES = {
    "fig2": "Test error of GM layers with K = 5, 10, 20 components",
    "fig3": "Test error of fully connected nets of width 1000, and of the GM layer with K = 20",
    "fig4": "Components of a GM layer (ellipses) and neurons of a net (dots) over the epochs",
    "fig5": "Test error with the β-marginal trained, and frozen",
    "fig6": "Test error against the initial scale γ, K = 5",
    "fig7": "Test error of one GM layer, and of two with 100 features between them",
    "dynamics": "GM layers and nets of mean-field widths at equal Wasserstein time",
    "tuning": "Configurations of GM layers and fully connected nets, on held-out training rows",
    "practical": "GM layers with shared factors against fully connected nets, at the same number of epochs",
    "cifar": "GM layer and fully connected net of one size as heads of a convolutional trunk, and on pixels",
    "ladder-rates": "Rates of covariance families at one number of parameters, on held-out training rows",
    "ladder": "Covariance families at the number of parameters of FC-240",
    "rates": "Rates of five optimizers for the paper's layer, on held-out training rows",
    "optimizers": "The paper's layer with K = 20 under five optimizers, at a constant rate",
    "fit2d": "Functions of two variables from 1000 points",
    "feynman": "Formulas of the AI Feynman set from 1000 points",
    "poisson": "Poisson's equation on a square",
}
"""The table repeats the title of every experiment, which a test compares."""


def sections() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the tables that ``gmlayers list`` prints for the experiments: a title and rows of name and text."""
    return [("experiments (gmlayers reproduce)", list(TITLES.items()))]
