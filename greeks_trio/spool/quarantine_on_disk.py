"""The service's side of the quarantine."""

from __future__ import annotations

import functools

from greeks_trio.model.records import Tick
from greeks_trio.spool.quarantine import QuarantineFile
from greeks_trio.spool.worker import DiskWorker


class QuarantineOnDisk:
    """`Quarantine` on a file, every call in the worker's thread."""

    def __init__(self, file: QuarantineFile, worker: DiskWorker) -> None:
        self._file = file
        self._worker = worker
        self._waiting = 0

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        """See `Quarantine.add`."""
        await self._worker.run(
            functools.partial(self._add, tick, sqlstate=sqlstate, reason=reason)
        )

    def waiting(self) -> int:
        """See `Quarantine.waiting`."""
        return self._waiting

    async def recount(self) -> int:
        """See `Quarantine.recount`."""
        return await self._worker.run(self._count)

    def _add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        self._file.add(tick, sqlstate=sqlstate, reason=reason)
        self._count()

    def _count(self) -> int:
        self._waiting = self._file.count()
        return self._waiting
