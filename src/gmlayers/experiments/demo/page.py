"""One page with everything in it: it needs no other file and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 130
"""Pictures have this many points in an inch."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6168; --paper: #ffffff; --line: #d8dce0; --code: #f4f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a3a9b1; --paper: #16181b; --line: #363a40; --code: #22252a }
}
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.9rem; margin: 0 } h2 { font-size: 1.35rem; margin: 3rem 0 .4rem }
p { max-width: 46rem } .soft { color: var(--soft) }
img { width: 100%; height: auto; background: #fff; border-radius: 8px; border: 1px solid var(--line) }
pre { background: var(--code); padding: .9rem 1rem; border-radius: 8px; overflow-x: auto; font-size: .88rem }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
"""


@dataclass(frozen=True)
class Part:
    """One half of the demo: what is printed of it, and what stands on the page."""

    title: str
    text: str
    """What was done, for the page."""
    code: str
    """The lines that did it."""
    picture: Figure
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: Sequence[str]
    """What it is good for, and what not."""


def render(parts: Sequence[Part], seconds: float) -> str:
    """Return the page."""
    sections = "\n".join(_section(part) for part in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>gmlayers: a demo</title>
<style>{STYLE}</style>
</head>
<body>
<h1>gmlayers</h1>
<p>Sums of Gaussians that solve equations and fit functions to many digits, and neural-network layers whose neurons are
Gaussian mixtures. Everything on this page was computed on your machine in {seconds:.0f} seconds, with one thread.</p>
{sections}
</body>
</html>
"""


def _section(part: Part) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in part.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in part.rows)
    verdict = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in part.verdict)
    return f"""<h2>{escape(part.title)}</h2>
<p>{escape(part.text)}</p>
<pre><code>{escape(part.code)}</code></pre>
<img alt="{escape(part.caption)}" src="data:image/png;base64,{_png(part.picture)}">
<p class="soft">{escape(part.caption)}</p>
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
{verdict}"""


def _png(figure: Figure) -> str:
    figure.dpi = DPI
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return base64.b64encode(content.getvalue()).decode()
