"""What the command line knows of the studies before it runs one; importing this is quick."""

from __future__ import annotations

COMMANDS = {
    "reproduce": ("gmlayers_studies.command:reproduce", "Run a study, draw its figure and judge its claim."),
    "plot": ("gmlayers_studies.command:plot", "Draw a study again from its records."),
    "archive": ("gmlayers_studies.command:archive", "Put all records of a study into one file."),
}
"""The table holds, for each command, the place of its function and one line of help."""

TITLES = {
    "fig2": "Test error of GM layers with K = 5, 10, 20 components",
    "fig3": "Test error of fully connected nets of width 1000, and of the GM layer with K = 20",
    "fig4": "Components of a GM layer (ellipses) and neurons of a net (dots) over the epochs",
    "fig5": "Test error with the β-marginal trained, and frozen",
    "fig6": "Test error against the initial scale γ, K = 5",
    "fig7": "Test error of one GM layer, and of two with 100 features between them",
    "dynamics": "GM layers and nets of mean-field widths at equal Wasserstein time",
    "tuning": "Configurations of GM layers and fully connected nets, on held-out training rows",
    "finalists": "The three best configurations of GM layers and fully connected nets, with three more seeds",
    "practical": "GM layers with shared factors against fully connected nets, at the same number of epochs",
    "cifar": "GM layer and fully connected net of one size as heads of a convolutional trunk, and on pixels",
    "ladder-rates": "Rates of covariance families at one number of parameters, on held-out training rows",
    "ladder": "Covariance families at the number of parameters of FC-240",
    "rates": "Rates of five optimizers for the paper's layer, on held-out training rows",
    "optimizers": "The paper's layer with K = 20 under five optimizers, at a constant rate",
    "blocks": "Feed-forward blocks in a language model over bytes, at the size of one MLP",
    "classification": "Blocks in small image classifiers, at the size of one",
    "language": "Blocks and attention of mixtures in a language model over bytes, trained for long",
    "listops": "One head of a mixture beside several of softmax, on nested operations on digits",
    "forecasting": "Heads, cells and attention of mixtures in forecasters of ETTh1, with a look-back of 96",
    "fit2d": "Functions of two variables from 1000 points",
    "feynman": "Formulas of the AI Feynman set from 1000 points",
    "poisson": "Poisson's equation on a square",
}
"""The table repeats the title of every study, which a test compares."""


def sections() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the tables that ``gmlayers list`` prints for the studies: a title and rows of name and text."""
    return [("studies (gmlayers reproduce)", list(TITLES.items()))]
