"""Questions in, pages and exports out: the door through which HTTP reads PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from greeks_trio.postgres.reads.lists import (
    Listing,
    csv_header,
    export_statement,
    fetch_page,
)
from greeks_trio.postgres.reads.questions import (
    DivergenceQuestion,
    ExportFormat,
    GapsQuestion,
    LatestQuestion,
    NewTrade,
    Page,
    Place,
    PortfolioQuestion,
    PositionsQuestion,
    Question,
    RecordedTrade,
    SnapshotsQuestion,
    TradesQuestion,
)
from greeks_trio.postgres.reads.reader import Export, Reader
from greeks_trio.postgres.reads.records import (
    gaps_listing,
    record_trade,
    trades_listing,
)
from greeks_trio.postgres.reads.risk import (
    divergence_listing,
    latest_listing,
    portfolio_listing,
    positions_listing,
)
from greeks_trio.postgres.reads.snapshots import snapshot_listing


class Timeline:
    """The tables and views, for questions.

    Every method may raise `ReadsBusy`, `ReadTooLong`, `StoreUnavailable` and
    `StoreRejected`, see `Reader.read`.

    Args:
        stale_after_s: The age from which a contract is stale.
    """

    def __init__(self, reader: Reader, stale_after_s: float) -> None:
        self._reader = reader
        self.stale_after_s = stale_after_s

    async def page(
        self,
        question: Question,
        after: Place | None,
        limit: int,
        *,
        has_payload: bool = False,
    ) -> Page:
        """Return at most so many rows after a place.

        Raises:
            ValueError: it is no place in this list.
        """
        listing = self._listing(question, has_payload=has_payload).after(after)
        items, place = await self._reader.read(partial(fetch_page, listing, limit))
        return Page(items=items, next_place=place)

    @asynccontextmanager
    async def export(
        self,
        question: Question,
        form: ExportFormat,
        limit: int | None = None,
        *,
        has_payload: bool = False,
    ) -> AsyncIterator[tuple[bytes, Export]]:
        """Yield what stands before the lines, and the lines."""
        listing = self._listing(question, has_payload=has_payload)
        query, params = export_statement(listing, form, limit)
        async with self._reader.export(query, params) as export:
            yield csv_header(listing) if form == "csv" else b"", export

    async def record(self, trade: NewTrade) -> RecordedTrade:
        """Record a trade, or return what is recorded under its id."""
        return await self._reader.read(partial(record_trade, trade))

    def _listing(self, question: Question, *, has_payload: bool) -> Listing:
        match question:
            case SnapshotsQuestion():
                return snapshot_listing(question, has_payload=has_payload)
            case LatestQuestion():
                return latest_listing(question, self.stale_after_s)
            case PositionsQuestion():
                return positions_listing(question)
            case PortfolioQuestion():
                return portfolio_listing(question, self.stale_after_s)
            case DivergenceQuestion():
                return divergence_listing(question)
            case GapsQuestion():
                return gaps_listing(question)
            case TradesQuestion():
                return trades_listing(question)
