"""``gmlayers list``.

Another distribution adds tables by an entry point of the group ``gmlayers.listings``: a function without arguments that
returns pairs of a title and rows, each of a name and a line of text.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from gmlayers.experiments import display, names


def list_all() -> None:
    """Print the data sets, models, activations and experiments that can be named."""
    console = display.output()
    display.print_table("data sets", ["name", "what"], names.DATA.items(), left=2)
    console.print("also: a folder of class folders of images, a .csv or .npz file\n")
    display.print_table("models", ["name", "what"], names.MODELS.items(), left=2)
    for entry in entry_points(group="gmlayers.listings"):
        for title, rows in entry.load()():
            console.print()
            display.print_table(title, ["name", "what"], rows, left=2)
    lists = {"activations": names.ACTIVATIONS, "optimizers": names.OPTIMIZERS, "schedules": names.SCHEDULES}
    for title, known in lists.items():
        console.print(f"\n[bold]{title}[/bold]  {', '.join(known)}", soft_wrap=True)
