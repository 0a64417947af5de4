"""What the site has beside its pages: the README as its start, the gallery, the reference, formulas as MathML."""

from __future__ import annotations

import io
import re
import types
from importlib import import_module
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

CELL = re.compile(r"^# %% ", re.MULTILINE)
"""Every picture of the gallery has a cell, which begins so."""

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)

PACKAGES = {
    "nn": "Layers",
    "solve": "Solvers",
    "convert": "Conversion",
    "flows": "Flows",
    "diagnostics": "Diagnostics",
    "plot": "Pictures",
    "ops": "Operations",
    "functional": "Formulas",
}


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Add the pages that are made of something else."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("](docs/", "](").replace("](CONTRIBUTING.md)", "](contributing.md)")
    readme = readme.replace("](CHANGELOG.md)", "](changelog.md)").replace("[how to cite](CITATION.cff) · ", "")
    _add(files, config, "index.md", readme)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        _add(files, config, name.lower(), (ROOT / name).read_text(encoding="utf-8"))
    for package, title in PACKAGES.items():
        _add(files, config, f"reference/{package}.md", reference(package, title))
    notes = ROOT / "src" / "gmlayers" / "ops" / "README.md"
    _add(files, config, "ops/notes.md", notes.read_text(encoding="utf-8"))
    sections = ["# Gallery\n\nEvery picture is drawn by the code below it, when this site is built."]
    _, *cells = CELL.split((ROOT / "docs" / "gallery.py").read_text(encoding="utf-8"))
    for number, cell in enumerate(cells, start=1):
        name, content, section = picture(cell, f"{number:02}")
        files.append(File.generated(config, f"gallery/{name}", content=content))
        sections.append(section)
    _add(files, config, "gallery.md", "\n\n".join(sections) + "\n")
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401
    """Return a page whose links to notes beside the code lead to their copies."""
    return markdown.replace("](../src/gmlayers/ops/README.md#", "](ops/notes.md#")


def _add(files: Files, config: Any, path: str, content: str) -> None:  # noqa: ANN401
    if (old := files.get_file_from_path(path)) is not None:
        files.remove(old)
    files.append(File.generated(config, path, content=content))


def reference(package: str, title: str) -> str:
    """Return the page of a package: its docstring, then every public name of it."""
    module = import_module(f"gmlayers.{package}")
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    inner = {name for name, value in public.items() if isinstance(value, types.ModuleType)}
    ours = {name for name in inner if public[name].__name__.startswith(module.__name__)}
    names = [name for name in public if name != "TYPE_CHECKING" and (name not in inner or name in ours)]
    names.sort(key=ours.__contains__)  # modules come last
    head = f"# {title}\n\n`gmlayers.{package}`: {(module.__doc__ or '').strip()}\n"
    return head + "".join(f"\n::: gmlayers.{package}.{name}\n" for name in names)


def picture(cell: str, stem: str) -> tuple[str, bytes, str]:
    """Run a cell of the gallery; return the name of its picture, its bytes, and the section of the page."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    head, _, code = cell.partition("\n\n")
    title, *about = (line.removeprefix("# ") for line in head.split("\n"))
    names: dict[str, Any] = {}
    exec(compile(code, f"gallery: {title}", "exec"), names)
    if "film" in names:
        name, content = f"{stem}.gif", _film(names["film"])
    else:
        buffer = io.BytesIO()
        pyplot.gcf().savefig(buffer, format="png", dpi=100)
        name, content = f"{stem}.png", buffer.getvalue()
    pyplot.close("all")
    text = " ".join(about)
    return name, content, f"## {title}\n\n{text}\n\n![{title}](gallery/{name})\n\n```python\n{code.strip()}\n```"


def _film(film: Any) -> bytes:  # noqa: ANN401
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.gif"
        film.save(path, writer="pillow", dpi=80)
        return path.read_bytes()


def on_page_content(html: str, **_: Any) -> str:  # noqa: ANN401
    """Return a page with its formulas as MathML, which browsers show without a script."""
    html = INLINE.sub(lambda found: _formula(found[1], "inline"), html)
    return BLOCK.sub(lambda found: _formula(found[1], "block"), html)


def _formula(latex: str, display: str) -> str:
    from html import unescape

    return convert(unescape(latex).strip(), display=display)
