"""What the spool held a moment ago, beside it, for the day when it is damaged.

A file that is torn cannot say what was in the part that is gone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from greeks_trio.model.records import Broker


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """A spool in numbers.

    Attributes:
        newest_id: The highest id that was ever given.
        rows: Ticks by broker.
        first_at: When the first of the oldest entry's ticks was received.
        last_at: When the last of the newest entry's was.
    """

    newest_id: int = 0
    rows: dict[Broker, int] = {}
    first_at: datetime | None = None
    last_at: datetime | None = None


class ContentsFile:
    """The numbers in a file, replaced whole; not synced, so it may be a little old."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Contents | None = None

    def read(self) -> Contents:
        """Return what was written last, zeros when that cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Contents)
        except (OSError, msgspec.MsgspecError):
            return Contents()

    def write(self, contents: Contents) -> None:
        """Write them if they are others than before, and if the disk takes them."""
        if contents == self._written:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        with suppress(OSError):
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb") as file:
                file.write(msgspec.json.encode(contents))
            fresh.replace(self._path)
            self._written = contents
