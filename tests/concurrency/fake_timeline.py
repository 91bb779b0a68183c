"""A timeline without a database, for tests of the routes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import trio

from greeks_trio.api.lists import resources
from greeks_trio.api.lists.resources import SNAPSHOTS
from greeks_trio.postgres.reads.pages import Page
from greeks_trio.postgres.reads.trades import RecordedTrade
from tests.timeline import STALE_AFTER_S, listing_of

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
TICKS = "/v1/greeks/snapshots"
EVERY_LIST = {
    TICKS: listing_of(SNAPSHOTS),
    "/v1/greeks/latest": listing_of(resources.LATEST),
    "/v1/greeks/asof?at=2026-11-20T15:30:00Z": listing_of(resources.AS_OF, at=AT),
    "/v1/positions": listing_of(resources.POSITIONS),
    "/v1/portfolio": listing_of(resources.PORTFOLIO),
    "/v1/risk/positions": listing_of(resources.POSITION_GREEKS),
    "/v1/risk/totals?group_by=book": listing_of(resources.RISK_TOTALS, group_by="book"),
    "/v1/position-tags": listing_of(resources.POSITION_TAGS),
    "/v1/divergence": listing_of(resources.DIVERGENCE),
    "/v1/gaps": listing_of(resources.GAPS),
    "/v1/outages": listing_of(resources.OUTAGES),
    "/v1/trades": listing_of(resources.TRADES),
}


class FakeTimeline:
    """Keeps its calls, and answers as the test says.

    Attributes:
        chunks: Of every export; an exception among them is raised.
    """

    def __init__(self):
        self.stale_after_s = STALE_AFTER_S
        self.export_timeout_s = 60.0
        self.asked = []
        self.error = None
        self.page_answer = Page(items=b'[{"id":1}]', position=None)
        self.chunks = [b"1\n", b"2\n"]
        self.recorded = RecordedTrade(item=b'{"id":1}', is_new=True, is_same=True)
        self.open_exports = 0
        self.has_closed = trio.Event()

    async def page(self, listing, after, limit):
        await trio.lowlevel.checkpoint()
        self.asked.append((listing, after, limit))
        if self.error is not None:
            raise self.error
        return self.page_answer

    @asynccontextmanager
    async def export(self, listing, form, limit=None):
        if self.error is not None:
            raise self.error
        self.asked.append((listing, form, limit))
        self.open_exports += 1
        try:
            yield b"head\n" if form == "csv" else b"", FakeLines(list(self.chunks))
        finally:
            self.open_exports -= 1
            self.has_closed.set()

    async def record(self, trade, columns):
        await trio.lowlevel.checkpoint()
        self.asked.append(trade)
        if self.error is not None:
            raise self.error
        return self.recorded


class FakeLines:
    def __init__(self, chunks):
        self.chunks = chunks

    async def next_lines(self):
        await trio.lowlevel.checkpoint()
        chunk = self.chunks.pop(0) if self.chunks else b""
        if isinstance(chunk, Exception):
            raise chunk
        return chunk
