"""Pieces of Markdown: a table, and the note at the top of a page that is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_NOTE: Final = "<!-- Made by `bin/docs write` from {source}. Edit that instead. -->"


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that is made from the code; ``source`` names the module."""
    head = f"# {title}\n\n{_NOTE.format(source=source)}"
    return "\n\n".join([head, *(part.strip("\n") for part in parts)]) + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown."""
    lines = [_row(headings), _row(["---"] * len(headings))]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def code(text: str) -> str:
    """Return the text as code, or nothing when there is no text."""
    return f"`{text}`" if text else ""


def one_line(text: str) -> str:
    """Return the text without line breaks."""
    return re.sub(r"\s+", " ", text).strip()


def _row(cells: Sequence[str]) -> str:
    escaped = (one_line(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
