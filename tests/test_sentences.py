"""A documented constant says in a whole sentence what it does; a documented field has at least a phrase of its own.

A constant is a name in capitals that is assigned in a module or a class and has a docstring under it. The check is a
simple one. Of the first sentence it asks for a capital or code at the start, for a full stop, and for more finite verbs
than words that open a subordinate clause: "Rows that are compared" has one of each, and so no verb of its own. A verb
that it does not know can be added to ``VERBS``.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / folder for folder in ("src", "studies/gmlayers_studies") if (ROOT / folder).is_dir()]

VERBS = set(
    """
    is are was were be has have had does do did can could may might must will would shall
    adds allows applies asks averages becomes begins belong belongs bounds bring brings choose chooses come comes
    compare compares compute computes consist contain contains covers decide decides differ differs divide divides
    ends enter exist exists fail fails fall falls find finds follow follows gets give gives goes grow grows hold holds
    keep keeps know knows lack lacks leads leave leaves let lets lie lies loses make makes mark matches move moves
    multiply multiplies pass passes pay pays read reads refuse refuses repeat repeats require requires return returns
    runs save saves say says see sees separate separates serve serves shows solve solves spans stand stands stay stays
    stop stops sums take takes tell tells train trains treat treats try tries turn turns use uses vary varies wait
    waits weigh weighs widen widens write writes
    """.split()  # noqa: SIM905
)
"""The check knows these finite verbs. It leaves out most forms that are also nouns, such as "names" and "costs"."""

OPENERS = {"that", "which", "who", "whose", "where", "when", "whether", "if", "how", "what", "why", "because"}
"""These words open a subordinate clause, whose verb is not that of the sentence."""

DANGLING = re.compile(
    r"(Of|By|At|In|On|For|To|From|With|Within|Over|Among|Beside|Beyond|Below|After|Around|That|Which|Whose|Where|When|"
    r"Whether|As|\()\b"
)
"""A phrase that starts with one of these words hangs on the name of what it describes."""


class Documented(NamedTuple):
    """A name with a docstring under it."""

    place: str
    name: str
    text: str

    @property
    def is_constant(self) -> bool:
        """Whether the name is in capitals."""
        return re.fullmatch(r"_?[A-Z][A-Z0-9_]+", self.name.strip("()").split(",")[0]) is not None


def documented() -> Iterator[Documented]:
    """Find what is assigned in a module or a class and has a docstring under it."""
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, (ast.Module, ast.ClassDef)):
                    continue
                for before, after in zip(node.body, node.body[1:]):
                    if not (isinstance(before, (ast.Assign, ast.AnnAssign)) and isinstance(after, ast.Expr)):
                        continue
                    if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                        target = before.targets[0] if isinstance(before, ast.Assign) else before.target
                        place = f"{path.relative_to(ROOT).as_posix()}:{after.lineno}"
                        yield Documented(place, ast.unparse(target), " ".join(after.value.value.split()))


def is_sentence(text: str) -> bool:
    """Whether the first sentence of a text is a whole one, as far as the check can tell."""
    plain = re.sub(r":\w+:`[^`]*`|``[^`]*``|\*[^*]*\*", "Code", text)
    first = re.split(r"(?<=[.:;])\s", plain)[0]
    words = re.findall(r"[^\W\d_]+", first)
    verbs = sum(word.lower() in VERBS for word in words)
    openers = sum(word.lower() in OPENERS for word in words)
    if re.match(r"(Of|That|Which|Whose|\w+ which)\b", first):
        return False
    return text.endswith(".") and len(words) >= 3 and plain[:1].isupper() and verbs > openers


def is_phrase(text: str) -> bool:
    """Whether a text stands on its own, if not as a sentence then as a name for the thing."""
    return text.endswith(".") and (text[0].isupper() or not text[0].isalpha()) and not DANGLING.match(text)


def test_constants_are_documented_in_whole_sentences():
    fragments = [d for d in documented() if d.is_constant and not is_sentence(d.text)]
    assert not fragments, "\n".join(f"{d.place}: {d.name}: {d.text}" for d in fragments)


def test_fields_are_documented_in_phrases_of_their_own():
    fragments = [d for d in documented() if not d.is_constant and not is_phrase(d.text)]
    assert not fragments, "\n".join(f"{d.place}: {d.name}: {d.text}" for d in fragments)


def test_the_check_finds_the_constants():
    """All of them were 183 when the check was written."""
    assert sum(d.is_constant for d in documented()) > 100


@pytest.mark.parametrize(
    "text",
    [
        "Of the time.",
        "At most.",
        "Rows that are compared with all centres at a time.",
        "Over which the local spacing is averaged.",
        "Of a matrix of as many components as are treated at a time.",
        "The table, by name.",
        "The names of all parameters.",
        "Largest difference of two activations that are taken for one: they differ by 5e-4.",
        "What each says, and by which part it is judged.",
        "the table has a row for every name.",
        "The table has a row for every name",
    ],
)
def test_fragments_are_found(text):
    assert not is_sentence(text)


@pytest.mark.parametrize(
    "text",
    [
        "At most this many rows are compared with all centres at a time.",
        "``nn`` is left out.",
        "A bump that the points hardly see has this share of the largest unit.",
        "Triton runs the kernels in its interpreter if this is true.",
    ],
)
def test_sentences_pass(text):
    assert is_sentence(text)


@pytest.mark.parametrize("text", ["(n, d).", "Of the means.", "That the weights took.", "sum of the weights.", "λ"])
def test_phrases_that_hang_are_found(text):
    assert not is_phrase(text)
