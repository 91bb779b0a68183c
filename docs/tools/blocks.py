"""The blocks of code in a Markdown page, and the notes that say how they are used.

A comment on the line above a block is a note: ``<!-- not run: REASON -->`` keeps the
tests from running it, and ``<!-- run with: A=B -->`` makes them run it with B in place of
A.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(
    r"(?:^ *<!-- (?P<note>[^\n]*?) -->\n)?"
    r"^ *```(?P<language>[a-z]*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code.

    Attributes:
        line: Where its text begins, counted from 1.
        note: The comment above it, empty when there is none.
        start: Where its text begins, as a position in the page.
        end: Where its text ends.
    """

    language: str
    text: str
    note: str
    line: int
    start: int
    end: int

    @property
    def not_run(self) -> str:
        """The reason for which no test runs it, empty when tests do."""
        return self.note.partition("not run: ")[2]

    @property
    def text_to_run(self) -> str:
        """The text, changed as the note says."""
        change = self.note.partition("run with: ")[2]
        old, _, new = change.partition("=")
        return self.text.replace(old, new) if old else self.text


def read_blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    return [
        Block(
            language=match["language"],
            text=textwrap.dedent(match["text"]),
            note=match["note"] or "",
            line=page.count("\n", 0, match.start("text")) + 1,
            start=match.start("text"),
            end=match.end("text"),
        )
        for match in _FENCE.finditer(page)
    ]
