"""The spool's directory, opened for the life of the service.

::

    lock                  held by the owner, with its process id
    alive                 touched every second, deleted by a clean end
    alive.<broker>        its time is that of the broker's last frame
    spool.sqlite3         ticks and journal entries
    spool.sqlite3.contents    how much that is, as of a second ago
    acknowledged.<number>    rows of the last minute that PostgreSQL has committed
    quarantine.sqlite3    rows that PostgreSQL refused, once there are any
    *.damaged, *.damaged-<number>    damaged files, put aside
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

import trio

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.records import FeedGap, Tick
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.stores import (
    Dropped,
    JournalEntry,
    Quarantine,
    Spool,
    SpooledEntry,
    SpoolSize,
)
from greeks_trio.spool.acknowledged import AcknowledgedLog
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
        self,
        ticks: Sequence[Tick],
        *,
        release: Sequence[int] = (),
        protected: int = 0,
        is_brief: bool = False,
    ) -> int:
        """See `Spool.append` and `SpoolStore.append`."""
        return await self._worker.run(
            functools.partial(
                self._store.append,
                ticks,
                release=release,
                protected=protected,
                is_brief=is_brief,
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

    async def append_journal(self, added: Sequence[JournalEntry]) -> list[int]:
        """See `Spool.append_journal`."""
        return await self._worker.run(
            functools.partial(self._store.append_journal, added)
        )

    async def release_journal(self, ids: Sequence[int]) -> None:
        """See `Spool.release_journal`."""
        await self._worker.run(functools.partial(self._store.release_journal, ids))

    def pop_dropped(self) -> list[Dropped]:
        """See `Spool.pop_dropped`."""
        return self._store.pop_dropped()

    def size(self) -> SpoolSize:
        """See `Spool.size`."""
        return self._store.size()


class SpoolDirectory:
    """An open directory; `open_spool` yields it.

    Attributes:
        inherited_journal: Journal entries of an earlier run that the database may not
            have yet, with their ids, oldest first.
        acknowledged: The rows that PostgreSQL has committed in the last minute.
        is_clean: Whether the run has told everything about its end; `None` if it does
            not say.  Then an end without an exception is a clean one.
    """

    def __init__(
        self, directory: Path, owner: Owner, *, max_bytes: int, keep_s: float
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._worker = DiskWorker()
        self._store = SpoolStore(directory / SPOOL_FILE, max_bytes=max_bytes)
        self._quarantine = QuarantineFile(directory / QUARANTINE_FILE, is_owner=True)
        self._refused = QuarantineOnDisk(self._quarantine, self._worker)
        self.spool: Spool = SpoolOnDisk(self._store, self._worker)
        self.quarantine: Quarantine = self._refused
        self.inherited_journal: list[tuple[int, JournalEntry]] = []
        self.is_clean: bool | None = None
        self.acknowledged = AcknowledgedLog(
            directory, keep_s=keep_s, max_bytes=max_bytes // 4
        )

    @property
    def inherited_id(self) -> int | None:
        """Return the newest id of an earlier run; 0 when nothing is left of any.

        `None` until the file was opened for the first time.
        """
        return self._store.inherited_id

    @property
    def killed_at(self) -> datetime | None:
        """Return when the earlier run was last alive, unless it ended cleanly."""
        return self._owner.killed_at

    @property
    def heard_at(self) -> Mapping[str, datetime]:
        """Return when the earlier run last heard of each broker, unless it ended cleanly."""
        return self._owner.heard_at

    async def inherit(self, gaps: Sequence[FeedGap]) -> None:
        """Add gaps of the earlier run to its journal, and delete its marks.

        A disk that refuses keeps the marks, so the next run finds the same gaps.
        """
        ids = [0] * len(gaps)
        try:
            ids = await self.spool.append_journal(gaps)
        except SpoolUnavailable as exc:
            logger.error("spool.unavailable reason=%s", exc)
        else:
            await self._worker.run(self._owner.forget_earlier)
        self.inherited_journal += zip(ids, gaps, strict=True)

    async def run_alive_mark(
        self,
        heard_at: Callable[[], Mapping[str, datetime]],
        conditions: Conditions | None = None,
    ) -> NoReturn:
        """Touch the mark each second, write the totals, and test the disk, until cancelled.

        Args:
            heard_at: Returns when the last frame of each broker came.
            conditions: Gets a condition for as long as the disk refuses.
        """
        was_in_place = True
        while True:
            # Without a thread nothing of this is possible, and `_test` says so.
            with suppress(SpoolUnavailable):
                was_in_place = await self._mark(heard_at(), was_in_place=was_in_place)
            await self._test(conditions or Conditions())
            await trio.sleep(_ALIVE_INTERVAL_S)

    async def _mark(
        self, heard_at: Mapping[str, datetime], *, was_in_place: bool
    ) -> bool:
        """Touch the mark and write the totals; return whether the directory is ours."""
        is_in_place = await self._worker.run(self._owner.is_in_place)
        if not is_in_place:
            if was_in_place:
                logger.critical("spool.directory_deleted directory=%s", self._directory)
            is_in_place = await self._worker.run(self._owner.take_again)
        await self._worker.run(functools.partial(self._owner.touch, heard_at))
        await self._worker.run(self._store.write_totals)
        await self._refused.take_notice()
        return is_in_place

    async def _test(self, conditions: Conditions) -> None:
        """Look at the file, or at the disk after a failure; keep the condition."""
        look = self._store.probe if self._store.last_error else self._store.look
        reason: str | None = None
        try:
            await self._worker.run(look)
        except SpoolUnavailable as exc:
            reason = str(exc)
        reason = self._store.last_error or reason
        if reason is None:
            conditions.end(ConditionKind.SPOOL_UNAVAILABLE)
        else:
            conditions.begin(ConditionKind.SPOOL_UNAVAILABLE, f"spool: {reason}")

    async def _open(self) -> None:
        try:
            self.inherited_journal = await self._worker.run(self._store.open)
        except SpoolUnavailable as exc:
            logger.error("spool.unavailable reason=%s", exc)
        await self.acknowledged.open()
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
        try:
            await self._worker.run(self._quarantine.close)
            await self._worker.run(self._store.close)
        except SpoolUnavailable as exc:
            # Everything in the files is durable; the next start opens them.
            logger.error("spool.not_closed reason=%s", exc)


@asynccontextmanager
async def open_spool(
    directory: Path, *, max_bytes: int, keep_s: float = 0.0
) -> AsyncIterator[SpoolDirectory]:
    """Lock the directory, made if need be, and open its files.

    A full disk does not end the service: every call raises `SpoolUnavailable` until
    there is room.

    Raises:
        ConfigError: the directory cannot be used, another process uses it, or a newer
            version of this program has written the spool.
    """
    owner = take_directory(directory)
    with suppress(OSError):  # earlier versions kept 8 MB free in this file
        (directory / "reserve").unlink()
    opened = SpoolDirectory(directory, owner, max_bytes=max_bytes, keep_s=keep_s)
    is_clean = False
    try:
        await opened._open()
        yield opened
        is_clean = True
    finally:
        with trio.move_on_after(_CLOSE_LIMIT_S, shield=True) as limit:
            await opened._close()
        if limit.cancelled_caught:
            # A thread may still write.  The lock is held until the process ends.
            logger.error("spool.disk_hangs limit_s=%.0f", _CLOSE_LIMIT_S)
        else:
            said = opened.is_clean
            owner.release(is_clean=is_clean if said is None else said)
