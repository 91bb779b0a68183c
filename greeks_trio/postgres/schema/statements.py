"""Split SQL into its statements, by the rules of psql.

A semicolon ends a statement unless it is in a text, a quoted name, a comment, between
dollar quotes or parentheses, or in the body of a function in standard SQL.

Source: PostgreSQL, ``src/fe_utils/psqlscan.l``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<opening> /\* )
    | \b[eE]'(?: [^'\\] | \\. | '' )*'
    | '(?: [^'] | '' )*'
    | "(?: [^"] | "" )*"
    | (?P<dollar> \$ (?: [^\W\d]\w* )? \$ ) .*? (?P=dollar)
    | (?P<word> [^\W\d][\w$]* )
    | (?P<end> ; )
    | (?P<bracket> [()] )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_MAKES_FUNCTION: Final = re.compile(
    r"create\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.IGNORECASE
)


def statements(text: str) -> Iterator[str]:
    """Yield the statements, without comments before them."""
    start, place, depth, bodies = -1, 0, 0, 0
    while token := _TOKEN.search(text, place):
        if start < 0:
            start = _first(text, place, token)
        place = token.end()
        if token["opening"]:
            place = _end_of_comment(text, place)
        elif token["bracket"]:
            depth += 1 if token["bracket"] == "(" else -1
        elif token["word"] and start >= 0:
            bodies += _step(token["word"].lower(), bodies, text, start)
        elif token["end"] and depth <= 0 and bodies <= 0:
            if start < token.start():
                yield text[start : token.end()]
            start, depth, bodies = -1, 0, 0
    rest = text[start:].strip() if start >= 0 else text[place:].strip()
    if rest:
        yield rest


def _first(text: str, place: int, token: re.Match[str]) -> int:
    """Return where the next statement begins; -1 if only a comment is found before."""
    blank = len(text[place : token.start()]) - len(text[place : token.start()].lstrip())
    begins = place + blank
    is_comment = token["comment"] is not None or token["opening"] is not None
    return -1 if begins == token.start() and is_comment else begins


def _step(word: str, bodies: int, text: str, start: int) -> int:
    """Return by how much the word opens or closes the bodies of a function."""
    if word not in ("begin", "case", "end") or not _MAKES_FUNCTION.match(text, start):
        return 0
    if word == "end":
        return -1 if bodies else 0
    return 1 if word == "begin" or bodies else 0


def _end_of_comment(text: str, place: int) -> int:
    """Return the place behind a comment, in which there may be others."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, place)):
        depth += 1 if edge[0] == "/*" else -1
        place = edge.end()
    return len(text) if depth else place
