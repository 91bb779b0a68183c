"""Pages, exports, trades and tags: everything that the HTTP interface reads and records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from functools import partial

from greeks_trio.postgres.reads.betas import read_betas
from greeks_trio.postgres.reads.greek_history import HistoryFilter, read_greek_history
from greeks_trio.postgres.reads.holdings import HoldingsFilter, read_holdings
from greeks_trio.postgres.reads.listing import (
    Column,
    ExportFormat,
    Listing,
    PagePosition,
    csv_header,
    export_statement,
)
from greeks_trio.postgres.reads.pages import Page, fetch_page
from greeks_trio.postgres.reads.paths import PathsFilter, read_paths
from greeks_trio.postgres.reads.position_tags import (
    PositionTag,
    TaggedPosition,
    TagWritten,
    delete_tag,
    write_tag,
)
from greeks_trio.postgres.reads.reader import Export, Reader
from greeks_trio.postgres.reads.risk_history import RiskHistoryFilter, read_risk_history
from greeks_trio.postgres.reads.sparklines import SparklinesFilter, read_sparklines
from greeks_trio.postgres.reads.trades import NewTrade, RecordedTrade, record_trade


class Timeline:
    """The tables and views of the database.

    Every method may raise `ReadsBusy`, `ReadTooLong`, `StoreUnavailable` and
    `StoreRejected`, see `Reader.read`.

    Args:
        stale_after_s: The age from which a contract is stale.
        export_timeout_s: The longest time of an export.
    """

    def __init__(
        self, reader: Reader, *, stale_after_s: float, export_timeout_s: float
    ) -> None:
        self._reader = reader
        self.stale_after_s = stale_after_s
        self.export_timeout_s = export_timeout_s

    async def page(
        self, listing: Listing, after: PagePosition | None, limit: int
    ) -> Page:
        """Return at most so many rows after a position.

        Raises:
            ValueError: the position is not one of this list.
        """
        rest = listing.after(after)
        return await self._reader.read(partial(fetch_page, rest, limit))

    @asynccontextmanager
    async def export(
        self, listing: Listing, form: ExportFormat, limit: int | None = None
    ) -> AsyncIterator[tuple[bytes, Export]]:
        """Yield the text before the first row, and the rows."""
        query, params = export_statement(listing, form, limit)
        async with self._reader.export(query, params) as export:
            head = csv_header(listing.columns) if form == "csv" else b""
            yield head, export

    async def holdings(self, wanted: HoldingsFilter) -> bytes:
        """Return the open positions as JSON, from one snapshot."""
        return await self._reader.read(partial(read_holdings, wanted))

    async def paths(self, wanted: PathsFilter) -> bytes:
        """Return the positions between two moments as JSON, from one snapshot.

        Raises:
            TooManyContracts: There are more than one answer can have.
        """
        return await self._reader.read(partial(read_paths, wanted))

    async def greek_history(self, wanted: HistoryFilter) -> bytes:
        """Return the series of one contract as a JSON object, from one snapshot.

        Raises:
            TooManyPoints: There are more than one answer can have.
        """
        return await self._reader.read(partial(read_greek_history, wanted))

    async def sparklines(self, wanted: SparklinesFilter) -> bytes:
        """Return one value of each interval for many contracts, as a JSON array."""
        return await self._reader.read(partial(read_sparklines, wanted))

    async def risk_history(self, wanted: RiskHistoryFilter) -> bytes:
        """Return the sums of an underlying at several moments as a JSON object.

        Raises:
            TooManyLooks: There are more contracts and moments than one answer can have.
        """
        return await self._reader.read(partial(read_risk_history, wanted))

    async def betas(self, benchmark: str) -> dict[str, tuple[float, date | None]]:
        """Return the known betas to a benchmark, each with its day."""
        return await self._reader.read(partial(read_betas, benchmark))

    async def record(self, trade: NewTrade, columns: Sequence[Column]) -> RecordedTrade:
        """Record a trade, or return the one that has its id, as these columns."""
        return await self._reader.read(partial(record_trade, trade, columns))

    async def tag(self, tag: PositionTag, columns: Sequence[Column]) -> TagWritten:
        """Give a position a strategy instead of any earlier one; its row as these columns."""
        return await self._reader.read(partial(write_tag, tag, columns))

    async def untag(self, position: TaggedPosition) -> bool:
        """Remove the tag of a position; false if it has none."""
        return await self._reader.read(partial(delete_tag, position))
