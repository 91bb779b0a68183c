"""The quarantine of the service: the file, used in the thread of the disk."""

from __future__ import annotations

import functools
from contextlib import suppress

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool.quarantine import QuarantineFile
from greeks_trio.spool.worker import DiskWorker


class QuarantineOnDisk:
    """The service's `Quarantine`: a file, every call in the worker's thread."""

    def __init__(self, file: QuarantineFile, worker: DiskWorker) -> None:
        self._file = file
        self._worker = worker
        self._waiting = 0
        # How often the file had been opened when its rows were counted.
        self._counted_in = -1
        self._seen: int | None = None

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        """See `Quarantine.add`."""
        await self._worker.run(
            functools.partial(self._add, tick, sqlstate=sqlstate, reason=reason)
        )

    async def add_entry(
        self, entry: JournalEntry, *, sqlstate: str | None, reason: str
    ) -> None:
        """See `Quarantine.add_entry`."""
        await self._worker.run(
            functools.partial(self._add_entry, entry, sqlstate=sqlstate, reason=reason)
        )

    def waiting(self) -> int:
        """See `Quarantine.waiting`."""
        return self._waiting

    async def recount(self) -> int:
        """See `Quarantine.recount`."""
        return await self._worker.run(self._count)

    async def take_notice(self) -> None:
        """Recount if another process may have changed the file since the last call.

        If the disk refuses, the number stays as it was.
        """
        with suppress(SpoolUnavailable):
            await self._worker.run(self._take_notice)

    def _take_notice(self) -> None:
        version = self._file.version()
        if version != self._seen:
            self._count()
            self._seen = version

    def _add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        self._count_more(self._file.add(tick, sqlstate=sqlstate, reason=reason))

    def _add_entry(
        self, entry: JournalEntry, *, sqlstate: str | None, reason: str
    ) -> None:
        self._count_more(self._file.add_entry(entry, sqlstate=sqlstate, reason=reason))

    def _count_more(self, more: int) -> None:
        if self._counted_in == self._file.openings:
            # Counting all rows for each new one would take longer than keeping it.
            self._waiting += more
        else:
            self._count()

    def _count(self) -> int:
        self._waiting = self._file.count()
        self._counted_in = self._file.openings
        return self._waiting
