"""Sinks and disks that tests can look into and make fail."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, suppress

import trio

from greeks_trio.errors import (
    PartitionMissing,
    SpoolUnavailable,
    StoreRejected,
    StoreUnavailable,
)
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import Dropped, SpooledEntry, SpoolSize

# What a tick takes on the fake disk.
TICK_BYTES = 1_000


def key_of(tick):
    """Return the table's primary key."""
    record = tick.record
    return (
        record.broker,
        record.account_id,
        record.contract_key,
        record.event_time,
        tick.fingerprint,
    )


def keys(ticks):
    """Return the primary keys: two ticks of one key may differ in `entry`."""
    return [key_of(tick) for tick in ticks]


class ListSink:
    """A tick sink with the table's semantics: one row per key, batches all or nothing.

    Every `open` is a new connection; `failures` end the present one: ``before`` the
    commit, or ``after`` it.  A duplicate is an error of the test unless it was to be
    expected, or `takes_duplicates`, as the real sink does at some cost.

    Args:
        table: Another sink whose rows this one writes.
    """

    def __init__(self, table=None):
        self.rows = {} if table is None else table.rows
        self.refused = set() if table is None else table.refused
        self.writes = []
        self.connections = 0
        self.is_down = False
        self.refuses_everything = False
        self.probes = 0
        # Keys of ticks whose month has no partition.
        self.without_partition = set() if table is None else table.without_partition
        self.takes_duplicates = False
        self.failures = []
        self.delay = 0.0

    @asynccontextmanager
    async def open(self):
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailable("told to be down")
        self.connections += 1
        yield self

    async def write(self, ticks, *, check_duplicates=False):
        self.writes.append((trio.current_time(), len(ticks), check_duplicates))
        await trio.sleep(self.delay)
        failure = self.failures.pop(0) if self.failures else None
        if failure == "before" or self.is_down:
            raise StoreUnavailable("told to fail")
        self._refuse(ticks)
        known = [tick for tick in ticks if key_of(tick) in self.rows]
        if not self.takes_duplicates:
            assert check_duplicates or not known, "a duplicate on the fast path"
        self.rows |= {key_of(tick): tick for tick in ticks}
        if failure == "after":
            raise StoreUnavailable("the acknowledgement is lost")
        return len(ticks) - len(known)

    async def ping(self):
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailable("told to be down")

    async def probe(self):
        self.probes += 1
        await trio.lowlevel.checkpoint()
        if self.refuses_everything or self.is_down:
            raise StoreUnavailable("takes no row at all")

    def refuse(self, tick):
        self.refused.add(key_of(tick))

    @property
    def ticks(self):
        return list(self.rows.values())

    def _refuse(self, ticks):
        rows = [
            row
            for row, tick in enumerate(ticks)
            if key_of(tick) in self.without_partition
        ]
        if rows:
            raise PartitionMissing(rows=rows, reasons={"p_2031_05": "told to"})
        if self.refuses_everything or any(key_of(t) in self.refused for t in ticks):
            raise StoreRejected("told to refuse", sqlstate="22003")


class MemoryDisk:
    """What a spool and a quarantine do with their disk; the switches of both.

    Calls take their turns.  A call that is cancelled while it is under way may be
    finished all the same, as the thread behind the real disk does.

    Attributes:
        failures: Whether the next calls fail, in order.
        is_full: Whether all calls fail.
        refused: Kinds of calls that fail.
        delay: Seconds that a call takes, `math.inf` for a disk that hangs.
        finishes_when_cancelled: Whether a cancelled call takes effect.
        calls: When each call was begun, and of what kind.
    """

    def __init__(self):
        self.failures = []
        self.is_full = False
        self.refused = set()
        self.delay = 0.0
        self.finishes_when_cancelled = False
        self.calls = []
        self._turn = trio.Lock()

    async def run(self, kind, work):
        async with self._turn:
            self.calls.append((trio.current_time(), kind))
            try:
                await trio.sleep(self.delay)
            except trio.Cancelled:
                if self.finishes_when_cancelled:
                    with suppress(SpoolUnavailable):
                        self._do(kind, work)
                raise
            return self._do(kind, work)

    def _do(self, kind, work):
        failed = self.failures.pop(0) if self.failures else False
        if failed or self.is_full or kind in self.refused:
            raise SpoolUnavailable("told to be full")
        return work()


class MemorySpool:
    """A spool with the semantics of the one on disk, its bound in bytes.

    Attributes:
        entries: Ticks by the entry's id, oldest first.
        journal: Journal entries by id.
        damaged: Ids of entries that cannot be read.
        drops: How many entries it has dropped.
    """

    def __init__(self, *, max_bytes=100_000 * TICK_BYTES):
        self.disk = MemoryDisk()
        self.entries = {}
        # Whether the last entry was brief.
        self.is_brief = None
        self.journal = {}
        self.damaged = set()
        self.drops = 0
        self.max_bytes = max_bytes
        self.inherited_id = 0
        self._newest_entry = self._newest_journal_entry = 0
        self._dropped = []

    def restarted(self):
        """Return what the next run finds after this one was killed at this moment."""
        heir = MemorySpool(max_bytes=self.max_bytes)
        heir.entries, heir.journal = dict(self.entries), dict(self.journal)
        heir.damaged = set(self.damaged)
        heir._newest_entry = self._newest_entry
        heir._newest_journal_entry = self._newest_journal_entry
        heir.inherited_id = max(heir.entries, default=0)
        return heir

    @property
    def ticks(self):
        return [tick for ticks in self.entries.values() for tick in ticks]

    @property
    def inherited_journal(self):
        return list(self.journal.items())

    async def append(self, ticks, *, release=(), protected=0, is_brief=False):
        # Like the real one, it takes the ticks as they are when it has its turn.
        def append():
            self._release(release)
            if not ticks:
                return 0
            self._newest_entry += 1
            self.is_brief = is_brief
            self.entries[self._newest_entry] = [
                Tick(tick.record, tick.fingerprint, 0.0) for tick in ticks
            ]
            self._make_room(protected)
            return self._newest_entry

        return await self.disk.run("append", append)

    async def release(self, ids):
        await self.disk.run("release", lambda: self._release(ids))

    async def read(self, *, after=0, upto, max_rows):
        return await self.disk.run("read", lambda: self._read(after, upto, max_rows))

    async def append_journal(self, added):
        def append():
            ids = []
            for each in added:
                self._newest_journal_entry += 1
                self.journal[self._newest_journal_entry] = each
                ids.append(self._newest_journal_entry)
            return ids

        return await self.disk.run("append_journal", append)

    async def release_journal(self, ids):
        def release():
            for each in ids:
                self.journal.pop(each, None)

        await self.disk.run("release_journal", release)

    def pop_dropped(self):
        dropped, self._dropped = self._dropped, []
        return dropped

    def size(self):
        ticks = self.ticks
        return SpoolSize(
            entries=len(self.entries),
            rows=len(ticks),
            bytes=len(ticks) * TICK_BYTES,
            oldest_at=ticks[0].record.received_at if ticks else None,
        )

    def _release(self, ids):
        for each in ids:
            self.entries.pop(each, None)

    def _read(self, after, upto, max_rows):
        found, rows = [], 0
        for entry_id in [each for each in self.entries if after < each <= upto]:
            if entry_id in self.damaged:
                self._drop(entry_id, "spool-damaged")
                continue
            ticks = self.entries[entry_id]
            if found and rows + len(ticks) > max_rows:
                break
            found.append(SpooledEntry(id=entry_id, ticks=list(ticks)))
            rows += len(ticks)
        return found

    def _make_room(self, protected):
        while self.size().bytes > self.max_bytes:
            oldest = min(each for each in self.entries if each > protected)
            if oldest == self._newest_entry:
                return
            self._drop(oldest, "spool-full")

    def _drop(self, entry_id, reason):
        self.drops += 1
        ticks = self.entries.pop(entry_id)
        received = [tick.record.received_at for tick in ticks]
        self._dropped.append(
            Dropped(
                ids=(range(entry_id, entry_id + 1),),
                rows=Counter(tick.record.broker for tick in ticks),
                first_at=min(received),
                last_at=max(received),
                reason=reason,
            )
        )


class MemoryQuarantine:
    """A quarantine that keeps each row once, with SQLSTATE and reason."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.entries = []
        self.rows = {}

    async def add(self, tick, *, sqlstate, reason):
        def add():
            self.rows.setdefault(key_of(tick), (tick, sqlstate, reason))

        await self.disk.run("add", add)

    async def add_entry(self, entry, *, sqlstate, reason):
        def add():
            self.entries.append((entry, sqlstate, reason))

        await self.disk.run("add_entry", add)

    def restarted(self):
        """Return what the next run finds after this one was killed at this moment."""
        heir = MemoryQuarantine()
        heir.rows = dict(self.rows)
        return heir

    def waiting(self):
        return len(self.rows)

    async def recount(self):
        return await self.disk.run("recount", self.waiting)

    @property
    def ticks(self):
        return [tick for tick, _, _ in self.rows.values()]
