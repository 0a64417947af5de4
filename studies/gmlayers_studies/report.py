"""Writes what was found in a study, as figures, a table of all trials and a page, and prints it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gmlayers.experiments import display, plots
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.records import environment_in_words
from gmlayers.experiments.text import visible
from gmlayers_studies.archive import last_rows
from gmlayers_studies.study import Finding, Results


def write(results: Results, found: Finding, folder: Path) -> None:
    """Write what was found beside the records, every file whole or not at all, and print it."""
    study, name = results.study, results.study.name
    if not (folder / f"{name}.json").exists():  # an archive has the same table
        write_whole(folder / f"{name}.csv", last_rows(results.records, results.runs))
    for ending, figure in found.figures.items():
        plots.save(figure, folder / f"{name}{ending}.png")
    plots.save(found.figures[""], folder / f"{name}.svg")
    for file, content in found.files.items():
        write_whole(folder / file, content)
    page = "\n".join([*_head(results), *found.page])
    write_whole(folder / f"{name}.md", "\n".join(map(visible, page.split("\n"))).encode())
    display.print_findings(
        f"{name}: {study.title}",
        found.header,
        found.rows,
        f"Claim: {study.claim}.",
        found.sentences,
        f"Figure: {folder / name}.png  numbers: {folder / name}.csv  page: {folder / name}.md",
    )


def _head(results: Results) -> list[str]:
    """Return what every page begins with: the figure, and what is claimed."""
    study = results.study
    numbers = f" ({', '.join(study.claims)})" if study.claims else ""
    return [
        f"## {study.name}: {study.title}",
        "",
        f"![{study.title}]({study.name}.png)",
        "",
        f"**Claim{numbers}.** {study.claim[0].upper()}{study.claim[1:]}.",
        "",
    ]


def machines(results: Results) -> str:
    """Return in words what machines the records were made on."""
    found = map(results.records.environment, results.runs)
    return "; ".join(sorted({environment_in_words(machine) for machine in found if machine is not None}))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, and an empty one."""
    lines = [header, ["---"] * len(header), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def relocated(text: str, study: str, prefix: str) -> str:
    """Return the page of a study whose figures are linked from another folder."""
    return text.replace(f"]({study}", f"]({prefix}/{study}")
