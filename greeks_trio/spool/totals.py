"""How much the spool holds, also written beside it: a damaged file cannot say."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from greeks_trio.config.directories import open_own_file
from greeks_trio.model.records import Broker
from greeks_trio.spool.database import MAX_ID
from greeks_trio.spool.entries import Facts

# A file of ours is about 200 bytes.
_MAX_BYTES: Final = 64 * 2**10
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A spool in numbers.

    Attributes:
        newest_id: The highest id that an entry was ever given.
        rows: Ticks by broker.
        first_at: When the first tick of the oldest entry was received.
        last_at: When the last tick of the newest entry was received.
    """

    newest_id: _Count = 0
    entries: _Count = 0
    rows: dict[Broker, _Count] = {}
    first_at: datetime | None = None
    last_at: datetime | None = None

    def changed(
        self,
        *,
        added: Mapping[int, Facts],
        removed: Mapping[int, Facts],
        first_at: datetime | None,
    ) -> Totals:
        """Return the totals after a change; ``first_at`` is that of the oldest entry."""
        rows = Counter(self.rows)
        for facts in added.values():
            rows.update(facts.rows)
        for facts in removed.values():
            rows.subtract(facts.rows)
        return Totals(
            newest_id=max((self.newest_id, *added)),
            entries=self.entries + len(added) - len(removed),
            rows=dict(+rows),
            first_at=first_at,
            last_at=max(
                (each.last_at for each in added.values()), default=self.last_at
            ),
        )


class TotalsFile:
    """The totals in a file.  They may be a little old, because they are not synced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Totals | None = None

    def read(self) -> Totals | None:
        """Return the totals that were written last, `None` when there are none."""
        try:
            with open(open_own_file(self._path, os.O_RDONLY), "rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=Totals)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, totals: Totals) -> None:
        """Write the totals if they have changed and the disk takes them."""
        if totals == self._written:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        with suppress(OSError):
            fd = open_own_file(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with open(fd, "wb") as file:
                file.write(msgspec.json.encode(totals))
            fresh.replace(self._path)
            self._written = totals
