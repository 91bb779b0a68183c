"""The lines of a service in the log of the fleet, with the name of the service."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Final

from greeks_trio.foreign_text import clean
from greeks_trio.logs import critical_stream

# Longer than any line of our log.
_LONGEST_LINE: Final = 32_768


async def relay(name: str, output: AsyncIterator[bytes | bytearray]) -> None:
    """Write each line of a service to our stderr, until its output ends."""
    rest = b""
    async for chunk in output:
        *lines, rest = (rest + bytes(chunk)).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _write(name, line)
    if rest:
        _write(name, rest)


def _write(name: str, line: bytes) -> None:
    text = named_line(name, clean(line.decode("utf-8", "replace"), limit=_LONGEST_LINE))
    stream = critical_stream() if "CRITICAL" in text[:120] else sys.stderr
    if stream is not None:  # closed before our start
        stream.write(f"{text}\n")


def named_line(name: str, line: str) -> str:
    """Return a line of any form of the log with the name of its service."""
    if line.startswith('{"') and line.endswith("}"):
        return f'{{"service":"{name}",{line[1:]}'
    if line.startswith("time="):
        return f"service={name} {line}"
    return f"[{name}] {line}"
