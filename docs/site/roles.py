"""Docstrings are written with the roles of Sphinx, which many editors show; the site reads Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc|obj):`(~?)([\w.]+)`")
INLINE = re.compile(r":math:`([^`]+)`")
OF_LAYERS = re.compile(r"^gmlayers\.(?=[A-Z])")
"""Layers can be imported from two places, and the reference has them under one."""

RETURNS = re.compile(r"^( *)Returns:\n((?:\1 +.*\n|\n)+)", re.MULTILINE)
"""What is returned is described in sentences; the parser would take all before a colon in them for a type."""

WORD_JOINER = "\u2060"

EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
BLOCK = re.compile(r"^( *)\.\. math:: *(.*\n(?:\1 +.*\n|\n(?=\1 +\S))*)", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Return a docstring with roles as links and mathematics between dollars."""
    text = BLOCK.sub(_block, text + "\n")
    text = EXAMPLE.sub(r"\1Examples:", text)  # the parser knows the plural
    text = RETURNS.sub(lambda found: found[0].replace(": ", f":{WORD_JOINER} "), text)
    text = INLINE.sub(lambda found: "$" + " ".join(found[1].split()) + "$", text)
    return ROLE.sub(_link, text).rstrip("\n")


def _block(found: re.Match[str]) -> str:
    first, _, rest = found[2].partition("\n")
    formula = "\n".join([first.strip(), textwrap.dedent(rest).strip()]).strip()
    return textwrap.indent(f"\n$$\n{formula}\n$$\n\n", found[1])


def _link(found: re.Match[str]) -> str:
    tilde, path = found.groups()
    shown = path.rpartition(".")[2] if tilde else path
    path = OF_LAYERS.sub("gmlayers.nn.", path)
    if path.count(".") < 2:  # a package has a page, and no place on it
        return f"`{path}`"
    return f"[`{shown}`][{path}]" if path.startswith("gmlayers.") else f"`{shown}`"


class Roles(Extension):
    """Rewrites every docstring that is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
