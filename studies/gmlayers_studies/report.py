"""Writes what was found in a study, as figures, a table of all trials and a page, and prints it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gmlayers.experiments import display, plots
from gmlayers.experiments.files import write_whole
from gmlayers.experiments.records import environment_in_words
from gmlayers.experiments.text import as_csv, visible
from gmlayers_studies.archive import last_rows
from gmlayers_studies.study import Finding, Results, Study, Table

LONGEST = 30
"""A table of more rows is a file of its own beside the page, which says so."""

FIRST = 2
"""A page of several studies has at most this many sentences of each; the page of the study has all of them."""


def write(results: Results, found: Finding, folder: Path) -> None:
    """Write what was found beside the records, every file whole or not at all, and print it."""
    study, name = results.study, results.study.name
    if not (folder / f"{name}.json").exists():  # an unzipped archive has the same table
        write_whole(folder / f"{name}.csv", last_rows(results.records, results.runs))
    for ending, figure in found.figures.items():
        plots.save(figure, folder / f"{name}{ending}.png")
    plots.save(found.figures[""], folder / f"{name}.svg")
    for file, content in found.files.items():
        write_whole(folder / file, content)
    lines = _head(study)
    for part in found.page:
        lines += [part] if isinstance(part, str) else _shown(part, name, folder)
    write_whole(folder / f"{name}.md", as_page(lines))
    display.print_findings(
        f"{name}: {study.title}",
        found.header,
        found.rows,
        f"Claim: {study.claim}.",
        found.sentences,
        f"Figure: {folder / name}.png  numbers: {folder / name}.csv  page: {folder / name}.md",
    )


def overview(study: Study, found: Finding, folder: str) -> list[str]:
    """Return what is said of a study on the page of several: its figure, the claim, and what was found.

    Args:
        study: the study.
        found: what its records say.
        folder: where its figure and its own page are, from the page.
    """
    sentences = [f"- {sentence}" for sentence in found.sentences[:FIRST]]
    more = len(found.sentences) - len(sentences)
    rest = f"{more} more finding{'s' * (more > 1)}" if more else "The table"
    link = f"[{rest}, and how it was done]({folder}/{study.name}.md)"
    return [*_head(study, f"{folder}/"), *sentences, "", link, ""]


def as_page(lines: Sequence[str]) -> bytes:
    """Return the content of a page, control characters in it shown."""
    return "\n".join(map(visible, "\n".join(lines).split("\n"))).encode()


def _shown(long: Table, name: str, folder: Path) -> list[str]:
    """Return a table as lines of the page, or if it is long write it to a file and return which."""
    if len(long.rows) <= LONGEST:
        return table(long.header, long.rows)
    file = f"{name}-{long.name}.csv"
    write_whole(folder / file, as_csv([long.header, *long.rows]).encode())
    return [f"The table has {len(long.rows)} rows; `gmlayers plot {name} --records ...` writes it to `{file}`.", ""]


def _head(study: Study, folder: str = "") -> list[str]:
    """Return what every page begins with: the figure, and what is claimed."""
    numbers = f" ({', '.join(study.claims)})" if study.claims else ""
    return [
        f"## {study.name}: {study.title}",
        "",
        f"![{study.title}]({folder}{study.name}.png)",
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
