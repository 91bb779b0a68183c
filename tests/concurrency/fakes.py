"""Sinks that tests can look into and make fail."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable


class ListSink:
    """A tick sink with the table's semantics: one row per key, batches all or nothing.

    Every `open` is a new connection; `fail` ends the present one.
    """

    def __init__(self):
        self.rows = {}
        self.writes = []
        self.connections = 0
        self.is_down = False
        self.refused = set()
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
        if failure == "before":
            raise StoreUnavailable("told to fail")
        if any(_key(tick) in self.refused for tick in ticks):
            raise StoreRejected("told to refuse", sqlstate="22003")
        known = [tick for tick in ticks if _key(tick) in self.rows]
        assert check_duplicates or not known, "a duplicate on the fast path"
        self.rows |= {_key(tick): tick for tick in ticks}
        if failure == "after":
            raise StoreUnavailable("the acknowledgement is lost")
        return len(ticks) - len(known)

    async def ping(self):
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise StoreUnavailable("told to be down")

    def refuse(self, tick):
        self.refused.add(_key(tick))

    @property
    def ticks(self):
        return list(self.rows.values())


def _key(tick):
    record = tick.record
    return (
        record.broker,
        record.account_id,
        record.contract_key,
        record.event_time,
        tick.fingerprint,
    )
