"""The picture of the demo: a real run in a pseudo-terminal, its last screens as an SVG."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS: Final = 92
ROWS: Final = 50

# The live table ends with the first line, the comparison begins with the last one.  In
# between the feeds say that the simulated brokers have closed their connections.
_END_OF_TABLE: Final = "database "
_END_OF_STREAM: Final = ("feed.restarting", "tastytrade.account_stream_lost")
_COMPARISON: Final = "Stopped."

_TOKEN: Final = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+|\x1b")
# No font from another server: the reader's own monospace font does.
_SVG: Final = re.sub(
    r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
)


class Screen:
    """The lines of a terminal, each with its colours.

    Knows what `rich` sends: text, new lines, cursor up, erase line, colours.
    """

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def feed(self, text: str) -> None:
        """Show the text."""
        for match in _TOKEN.finditer(text):
            piece = match.group()
            if match.group(2) == "A":
                self._row = max(0, self._row - int(match.group(1) or 1))
            elif match.group(2) == "K":
                self.lines[self._row] = ""
            elif match.group(2) == "m" or piece[0] not in "\x1b\r\n":
                self.lines[self._row] += piece
            elif piece == "\n":
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))


def run_in_terminal(command: Sequence[str], root: Path) -> str:
    """Run the command in a terminal of `COLUMNS` and return all that it prints.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        command, cwd=root, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        printed = b"".join(_chunks(ours))
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return printed.decode()


def _chunks(descriptor: int) -> Iterator[bytes]:
    # The terminal of a process that has ended gives an error instead of the end.
    with suppress(OSError):
        while chunk := os.read(descriptor, 65_536):
            yield chunk


def last_screens(printed: str) -> list[str]:
    """Return the last state of the live table, then the comparison below it.

    Raises:
        ValueError: the output has no live table, or no comparison.
    """
    screen = Screen()
    before, stopped, after = printed.partition(_COMPARISON)
    table: list[str] = []
    for piece in re.split(r"(?<=\n)|(?=\r?\x1b\[2K)", before):
        screen.feed(piece)
        shown = "\n".join(screen.lines)
        is_over = any(words in shown for words in _END_OF_STREAM)
        if _END_OF_TABLE in shown and not is_over:
            table = list(screen.lines)
    if not (stopped and table):
        raise ValueError("the demo showed no table, or no comparison")
    comparison = Screen()
    comparison.feed(stopped + after)
    return [*_trimmed(table), "", *_trimmed(comparison.lines)]


def _trimmed(lines: list[str]) -> list[str]:
    """Return the lines without the empty ones at the end."""
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines = lines[:-1]
    return lines


def make_svg(lines: Sequence[str], *, command: str) -> str:
    """Return a picture of the command and the lines that it printed."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True
    )
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in lines:
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title="greeks_trio", code_format=_SVG, unique_id="demo")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def write_picture(root: Path, *, seconds: int) -> Path:
    """Run the demo for some seconds, and write its picture."""
    printed = run_in_terminal(
        ["bin/run-ingest", "demo", "--seconds", str(seconds)], root
    )
    target = root / "docs" / "images" / "demo.svg"
    svg = make_svg(last_screens(printed), command="bin/run-ingest demo")
    target.write_text(svg, encoding="utf-8")
    return target
