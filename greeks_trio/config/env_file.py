"""The format of the file with the settings.  Pure.

A line is ``NAME=VALUE``, a comment that begins with ``#``, or empty.  ``export`` may
stand in front of the name.  Quotes around a value keep spaces and ``#`` in it; there are
no escapes.  A line that means nothing is a problem, because a setting that is silently
absent has its default.

The message of a problem never shows the text of a line, which may be part of a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(r"(?:export\s+)?([^=]*?)\s*=\s*(.*)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The word at the begin of a line that sets nothing.
_FIRST_WORD: Final = re.compile(r"(?:(?:export|set|setenv)\s+)?([A-Za-z_][\w.-]*)")
_QUOTED: Final = re.compile(r"""(?s:"([^"]*)"|'([^']*)')\s*(?:#.*)?""")
_COMMENT: Final = re.compile(r"\s#|^#")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that sets a variable."""

    line: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line that cannot be read.

    Attributes:
        word: The word at its begin, which may be the name of a setting; may be empty.
        fault: The fault and the remedy; follows the number of the line.
    """

    line: int
    word: str
    fault: str


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The content of a file, in the order of its lines."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)

    @property
    def values(self) -> dict[str, str]:
        """The value of each name; the last one of a name that is set twice."""
        return {entry.name: entry.value for entry in self.entries}


def read_env_file(text: str) -> EnvFile:
    """Return the entries of a file and the lines that mean nothing."""
    content = EnvFile()
    # Not `splitlines`: it would also end a line within a value, for instance at U+2028.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            each = _read_line(number, stripped)
            (content.entries if isinstance(each, Entry) else content.problems).append(
                each  # type: ignore[arg-type]  # the list fits the type
            )
    return content


def env_line(name: str, value: str) -> str:
    """Return the line that sets a variable.

    Raises:
        ValueError: no line can hold the value.
    """
    for quote in ("", '"', "'"):
        line = f"{name}={quote}{value}{quote}"
        if read_env_file(line).entries == [Entry(1, name, value)]:
            return line
    raise ValueError("holds a line break, or quotes that cannot be written to the file")


def _read_line(number: int, line: str) -> Entry | LineProblem:
    found = _LINE.fullmatch(line)
    name, value = found.groups() if found else ("", "")
    first = _FIRST_WORD.match(line)
    word = re.sub(r"[.-]", "_", first[1]) if first else ""
    if not found:
        fault = "has no '=', so it sets nothing; write NAME=VALUE, or remove it"
        return LineProblem(number, word, fault)
    if not _NAME.fullmatch(name):
        fault = "has no valid name in front of '='; write NAME=VALUE, or remove it"
        return LineProblem(number, word, fault)
    if value[:1] in ("'", '"'):
        return _quoted(number, name, value)
    if _COMMENT.search(value):
        fault = (
            f"has a '#' after the value of {name}; write the comment on a line of its "
            "own, or the value in quotes if the '#' belongs to it"
        )
        return LineProblem(number, name, fault)
    return Entry(number, name, value)


def _quoted(number: int, name: str, value: str) -> Entry | LineProblem:
    if found := _QUOTED.fullmatch(value):
        return Entry(number, name, found[1] if found[1] is not None else found[2])
    # Quotes inside the value belong to it.
    if len(value) > 1 and value[-1] == value[0]:
        return Entry(number, name, value[1:-1])
    fault = (
        f"has a quote in front of the value of {name} that does not close; close it, or "
        "put other quotes around the whole value"
    )
    return LineProblem(number, name, fault)
