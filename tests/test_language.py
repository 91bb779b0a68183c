"""Which words the product's sentences do without, so that each can be read once.

Docstrings, comments, messages and documents name their subject: a clause that begins with
*who* or *what* in the place of a noun hides it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.for_each import for_each

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "greeks_trio").rglob("*.py")
    if "__pycache__" not in path.parts
)

_VERBS = (
    "is|are|was|were|has|have|had|does|do|did|can|cannot|may|must|will|"
    "asks|gets|wants|reads|waits|stops|starts|knows|says|holds|comes|came|becomes|"
    "became|keeps|needs|makes|takes|happens|happened|differs|remains|follows|goes"
)
HIDDEN_SUBJECT = re.compile(
    rf"\b([Ww]ho(ever)? ({_VERBS})|[Ww]hat ({_VERBS}|it|they|we|the|a|an|each|nobody))\b"
    r"|\b([Ww]hoever|[Ww]hatever|[Nn]obody|[Nn]o one|as far as)\b"
)
# The name of a user on Unix, and the usual phrase for a message.
ALLOWED = ("`nobody`", "what is wrong")


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each comment and of each string with words in it."""
    yield from comments(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def hidden_subjects(text: str) -> list[str]:
    if " " not in text:
        return []
    for name in ALLOWED:
        text = text.replace(name, "")
    return [found[0] for found in HIDDEN_SUBJECT.finditer(" ".join(text.split()))]


@pytest.mark.parametrize(
    "sentence",
    [
        "Return what is held.",
        "Who asks gets an error.",
        "Nobody waits for it.",
        "It is for whoever reads it.",
        "It is read as far as it goes.",
    ],
)
def test_a_hidden_subject_is_found(sentence):
    assert hidden_subjects(sentence)


@pytest.mark.parametrize(
    "sentence", ["Return the positions.", "Run as the user ``nobody``.", "Say why."]
)
def test_a_plain_sentence_is_left_alone(sentence):
    assert hidden_subjects(sentence) == []


@for_each(SOURCES)
def test_the_sentences_of_the_product_name_their_subject(module):
    source = (ROOT / module).read_text(encoding="utf-8")
    found = [
        f"{module}:{line}: {words}"
        for line, text in texts(source)
        for words in hidden_subjects(text)
    ]

    assert found == []


@for_each(
    sorted(
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "docs/**/*.md", "db/*.md", ".env.example", "db/*.sql")
        for path in ROOT.glob(pattern)
    ),
)
def test_the_sentences_of_the_documents_name_their_subject(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    found = [
        f"{document}:{number}: {words}"
        for number, line in enumerate(text.splitlines(), 1)
        if not line.startswith("#") and "?" not in line
        for words in hidden_subjects(line)
    ]

    assert found == []
