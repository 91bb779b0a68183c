"""The spool's directory, opened for the life of the service.

::

    lock                  held by the owner, with its process id
    alive                 touched every second, gone after a clean end
    spool.sqlite3         ticks and notes
    spool.sqlite3.contents             how much that is, as of a second ago
    reserve               room for deleting when there is none
    quarantine.sqlite3    rows that PostgreSQL refused, once there are any
    damaged/              bytes of entries that cannot be decoded
    spool.sqlite3.damaged-<UTC time>   files from which the rest was salvaged
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import trio

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import (
    Dropped,
    JournalEntry,
    Quarantine,
    Spool,
    SpooledEntry,
    SpoolSize,
)
from greeks_trio.spool.keepsakes import Keepsakes
from greeks_trio.spool.lock import Owner, take_directory
from greeks_trio.spool.quarantine import QuarantineFile
from greeks_trio.spool.quarantine_on_disk import QuarantineOnDisk
from greeks_trio.spool.store import SpoolStore
from greeks_trio.spool.worker import DiskWorker

logger = logging.getLogger(__name__)

SPOOL_FILE: Final = "spool.sqlite3"
QUARANTINE_FILE: Final = "quarantine.sqlite3"

# Closing copies a few megabytes; a disk that takes longer hangs.
_CLOSE_LIMIT_S: Final = 5.0
_ALIVE_INTERVAL_S: Final = 1.0


class SpoolOnDisk:
    """`Spool` on a file, every call in the worker's thread."""

    def __init__(self, store: SpoolStore, worker: DiskWorker) -> None:
        self._store = store
        self._worker = worker

    async def append(
        self, ticks: Sequence[Tick], *, release: Sequence[int] = (), protected: int = 0
    ) -> int:
        """See `Spool.append`, and `SpoolStore.append`."""
        return await self._worker.run(
            functools.partial(
                self._store.append, ticks, release=release, protected=protected
            )
        )

    async def release(self, ids: Sequence[int]) -> None:
        """See `Spool.release`."""
        await self._worker.run(functools.partial(self._store.release, ids))

    async def read(
        self, *, after: int = 0, upto: int, max_rows: int
    ) -> list[SpooledEntry]:
        """See `Spool.read`."""
        return await self._worker.run(
            functools.partial(
                self._store.read, after=after, upto=upto, max_rows=max_rows
            )
        )

    async def note(self, notes: Sequence[JournalEntry]) -> list[int]:
        """See `Spool.note`."""
        return await self._worker.run(functools.partial(self._store.note, notes))

    async def forget_notes(self, ids: Sequence[int]) -> None:
        """See `Spool.forget_notes`."""
        await self._worker.run(functools.partial(self._store.forget_notes, ids))

    def pop_dropped(self) -> list[Dropped]:
        """See `Spool.pop_dropped`."""
        return self._store.pop_dropped()

    def size(self) -> SpoolSize:
        """See `Spool.size`."""
        return self._store.size()


class SpoolDirectory:
    """What `open_spool` yields.

    Attributes:
        inherited_notes: What the earlier run noted and did not forget, oldest first.
    """

    def __init__(self, directory: Path, owner: Owner, *, max_bytes: int) -> None:
        self._directory = directory
        self._owner = owner
        self._worker = DiskWorker()
        self._store = SpoolStore(
            directory / SPOOL_FILE,
            Keepsakes(directory / "damaged"),
            max_bytes=max_bytes,
        )
        self._quarantine = QuarantineFile(directory / QUARANTINE_FILE, is_owner=True)
        self._refused = QuarantineOnDisk(self._quarantine, self._worker)
        self.spool: Spool = SpoolOnDisk(self._store, self._worker)
        self.quarantine: Quarantine = self._refused
        self.inherited_notes: list[tuple[int, JournalEntry]] = []

    @property
    def inherited_id(self) -> int | None:
        """Return the newest id of an earlier run; 0 when nothing is left of any.

        `None` as long as the disk did not let the file be opened.
        """
        return self._store.inherited_id

    @property
    def killed_at(self) -> datetime | None:
        """Return when the earlier run was last alive, if it did not end cleanly."""
        return self._owner.killed_at

    @property
    def heard_at(self) -> Mapping[str, datetime]:
        """Return when the earlier run heard of each broker, if it did not end cleanly."""
        return self._owner.heard_at

    async def run_alive_mark(
        self, heard_at: Callable[[], Mapping[str, datetime]]
    ) -> None:
        """Touch the mark, and write down what there is, each second until cancelled.

        Args:
            heard_at: Says when the last frame of each broker came.
        """
        was_in_place = True
        while True:
            is_in_place = await self._worker.run(self._owner.is_in_place)
            if was_in_place and not is_in_place:
                logger.critical("spool.directory_deleted directory=%s", self._directory)
            was_in_place = is_in_place
            await self._worker.run(functools.partial(self._owner.touch, heard_at()))
            await self._worker.run(self._store.take_care)
            await self._refused.take_notice()
            await trio.sleep(_ALIVE_INTERVAL_S)

    async def _open(self) -> None:
        try:
            self.inherited_notes = await self._worker.run(self._store.open)
        except SpoolUnavailable as exc:
            logger.error("spool.unavailable reason=%s", exc)
        await self._refused.take_notice()
        size = self.spool.size()
        logger.info(
            "spool.opened directory=%s rows=%d oldest_at=%s quarantined=%d",
            self._directory,
            size.rows,
            size.oldest_at.isoformat() if size.oldest_at else "",
            self.quarantine.waiting(),
        )

    async def _close(self) -> None:
        await self._worker.run(self._quarantine.close)
        await self._worker.run(self._store.close)


@asynccontextmanager
async def open_spool(
    directory: Path, *, max_bytes: int
) -> AsyncIterator[SpoolDirectory]:
    """Own the directory, made if need be, and open what is in it.

    A disk that is full does not end the service: every call says `SpoolUnavailable`
    until there is room.

    Raises:
        ConfigError: the directory cannot be used, another process uses it, or a newer
            version of this program has written the spool.
    """
    owner = take_directory(directory)
    opened = SpoolDirectory(directory, owner, max_bytes=max_bytes)
    is_clean = False
    try:
        await opened._open()
        yield opened
        is_clean = True
    finally:
        with trio.move_on_after(_CLOSE_LIMIT_S, shield=True) as limit:
            await opened._close()
        if limit.cancelled_caught:
            # A thread may still write: the lock goes with the process.
            logger.error("spool.disk_hangs limit_s=%.0f", _CLOSE_LIMIT_S)
        else:
            owner.release(is_clean=is_clean)
