"""Store positions, account values and gaps in their tables.

The store that connects first makes the tables.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import msgspec
import trio
from psycopg.rows import TupleRow, args_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.account_values import AccountValuesSnapshot
from greeks_trio.model.records import (
    Broker,
    FeedGap,
    LeftoverGaps,
    Position,
    PositionsSnapshot,
)
from greeks_trio.pipeline.journal_writer import RefusedPart
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.postgres.account_values_store import store_account_values
from greeks_trio.postgres.connect import is_same_database, open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.database_watch import DatabaseWatch
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.gap_store import end_leftover_gaps, write_gap
from greeks_trio.postgres.lease import LeaseLost
from greeks_trio.postgres.schema.migrate import bring_up_to_date
from greeks_trio.waiting import run_in_slices

logger = logging.getLogger(__name__)


# The second row of a position at one moment is this much later.
_NEXT_ROW: Final = timedelta(microseconds=1)
# So many rows become positions in one or two milliseconds.
_AT_ONCE: Final = 200
# In the order of `_position`.  A row from the future counts from its recorded_at.
_LATEST_POSITIONS: Final = """
select distinct on (account_id, contract_key)
    broker, account_id, contract_key, kind, quantity, multiplier,
    currency, underlying, expiration, strike, option_type,
    instrument_id, exchange, underlying_id, price_factor, description, problem,
    premium_multiplier
from positions
where broker = %s and account_id = any(%s)
  and least(observed_at, recorded_at) <= %s
order by
    account_id, contract_key, least(observed_at, recorded_at) desc, observed_at desc
"""
_INSERT_POSITION: Final = """
insert into positions
    (broker, account_id, contract_key, kind, quantity, multiplier,
     currency, underlying, expiration, strike, option_type,
     instrument_id, exchange, underlying_id, price_factor, description, problem,
     premium_multiplier, observed_at)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
        %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (broker, account_id, contract_key, observed_at) do nothing
"""
# Open positions that the snapshot does not close, because it did not read their accounts.
_UNREAD_ACCOUNTS: Final = """
select account_id, count(*) from positions_asof('infinity')
where broker = %s and account_id <> all(%s)
group by account_id order by account_id
"""


class JournalStore:
    """Opens journal sinks; see `greeks_trio.pipeline.journal`.

    Args:
        leases: The lease of each broker; without one, everything is stored.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        *,
        watch: DatabaseWatch | None = None,
        leases: Mapping[Broker, FeedLease] = MappingProxyType({}),
    ) -> None:
        self._config = config
        self._watch = watch or DatabaseWatch()
        self._leases = leases

    def reconfigure(self, config: DatabaseConfig) -> None:
        """Use this configuration for the sinks that are opened from now on.

        When it names another database, open sinks refuse to write.
        """
        self._config = config

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqlJournalSink]:
        """Connect, bring the schema up to date and yield a sink.

        The sink is closed at the end.

        Raises:
            StoreUnavailable: there is no connection; also for a refused login.
            SchemaRejected: the schema of the database does not fit this program.
        """
        config = self._config
        async with open_connection(config, autocommit=True) as connection:
            await bring_up_to_date(connection, look_limit_s=config.timeout_s)
            is_same = await self._watch.look_at_new(connection, config.timeout_s)
            yield SqlJournalSink(
                connection,
                config,
                lambda: is_same_database(self._config, config) and is_same(),
                self._leases,
            )


class SqlJournalSink:
    """Stores entries one by one over one connection; made by `JournalStore.open`."""

    def __init__(
        self,
        connection: TrioConnection[TupleRow],
        config: DatabaseConfig,
        is_wanted: Callable[[], bool] = lambda: True,
        leases: Mapping[Broker, FeedLease] = MappingProxyType({}),
    ) -> None:
        self._connection = connection
        self._config = config
        self._is_wanted = is_wanted
        self._leases = leases
        # The accounts of the snapshots that were compared with the table.
        self._compared: set[tuple[str, tuple[str, ...]]] = set()

    async def write(self, entry: JournalEntry) -> Sequence[RefusedPart]:
        """Store the entry; storing it twice has the effect of storing it once.

        Positions and account values that the database refuses are returned, and the
        others are stored.
        The entry is durable when it returns.  It takes at most ``config.timeout_s``
        seconds and the time to give up.

        Raises:
            StoreUnavailable: the same entry may be offered again, to another sink.
            StoreRejected: the database refuses this gap; the sink remains in use.
            GapUndecided: the same gap may be offered again in a moment.
        """
        if not self._is_wanted():
            raise StoreUnavailable(
                "the configuration or the address leads to another database now"
            )
        refused: Sequence[RefusedPart] = ()
        lease = self._leases.get(entry.broker)
        try:
            with translated(self._connection), trio.fail_after(self._config.timeout_s):
                match entry:
                    case FeedGap():
                        await write_gap(self._connection, entry, lease)
                    case LeftoverGaps():
                        await self._know_holder(lease)
                        await end_leftover_gaps(self._connection, entry, lease)
                    case _ if lease is not None:
                        refused = await self._write_as_holder(entry, lease)
                    case _:
                        refused = await self._write_records(entry)
        except StoreUnavailable:
            self._connection.close_nowait()
            raise
        return refused

    async def _write_as_holder(
        self, records: PositionsSnapshot | AccountValuesSnapshot, lease: FeedLease
    ) -> Sequence[RefusedPart]:
        """Store them, unless another service has the lease and stores its own."""
        await self._know_holder(lease)
        try:
            async with self._connection.transaction():
                await lease.guard(self._connection)
                return await self._write_records(records)
        except LeaseLost:
            lease.left_records = True
            return ()

    async def _know_holder(self, lease: FeedLease | None) -> None:
        """Take the lease if it is free, or find out which service has it."""
        if lease is not None and lease.epoch is None and not lease.is_elsewhere:
            await lease.take(self._connection, from_expired=False)

    async def _write_records(
        self, records: PositionsSnapshot | AccountValuesSnapshot
    ) -> Sequence[RefusedPart]:
        if isinstance(records, AccountValuesSnapshot):
            return await store_account_values(self._connection, records)
        refused = await self._write_positions(records)
        await self._tell_unread_accounts(records)
        return refused

    async def _write_positions(
        self, snapshot: PositionsSnapshot
    ) -> Sequence[RefusedPart]:
        refused: list[RefusedPart] = []
        async with self._connection.transaction():
            stored = await self._latest_positions(snapshot)
            changed = await run_in_slices(changed_positions(snapshot, stored))
            try:
                await self._insert_positions(changed)
            except StoreRejected:
                for at, position in changed:
                    try:
                        await self._insert_positions([(at, position)])
                    except StoreRejected as exc:
                        refused.append(RefusedPart(_alone(snapshot, at, position), exc))
        return refused

    async def _tell_unread_accounts(self, snapshot: PositionsSnapshot) -> None:
        """Log the accounts whose positions stay open because no reading has them."""
        accounts = snapshot.broker, snapshot.account_ids
        if accounts in self._compared:
            return
        self._compared.add(accounts)
        cursor = await self._connection.execute(
            _UNREAD_ACCOUNTS, [snapshot.broker, list(snapshot.account_ids)]
        )
        for account_id, number in await cursor.fetchall():
            logger.warning(
                "journal.account_not_read broker=%s account=%s positions=%d: they stay "
                "open as they were stored",
                snapshot.broker,
                account_id,
                number,
            )

    async def _insert_positions(
        self, changed: Sequence[tuple[datetime, Position]]
    ) -> None:
        """Store all or none; a refusal does not end the outer transaction."""
        rows = [(*msgspec.structs.astuple(position), at) for at, position in changed]
        with translated(self._connection):
            async with self._connection.transaction():
                cursor = self._connection.cursor()
                await cursor.executemany(_INSERT_POSITION, rows)

    async def _latest_positions(self, snapshot: PositionsSnapshot) -> list[Position]:
        """Return the positions of these accounts in the table, as of the snapshot.

        If it was stored before, its own rows are among them.
        """
        cursor = self._connection.cursor(row_factory=args_row(_position))
        accounts = [
            *snapshot.account_ids,
            *(position.account_id for position in snapshot.positions),
        ]
        await cursor.execute(
            _LATEST_POSITIONS,
            [snapshot.broker, accounts, snapshot.observed_at + _NEXT_ROW],
        )
        found: list[Position] = []
        while some := await cursor.fetchmany(_AT_ONCE):
            found += some
            await trio.lowlevel.checkpoint()
        return found


def changed_positions(
    snapshot: PositionsSnapshot, stored: Iterable[Position]
) -> Generator[None, None, list[tuple[datetime, Position]]]:
    """Return the rows to append so that the newest rows agree with the snapshot.

    It yields after each small step, because there may be ten thousand positions.

    First come the positions that differ, in the order of the snapshot.  Then come the
    positions that the snapshot's accounts no longer have, with quantity 0, in the order
    of ``stored``.  Of an account that was not read completely, only those are closed whose
    instrument is held under another key now.

    A contract that has become another one under the same key is closed, and opened again
    a microsecond later.
    """
    before = yield from _by_key(stored)
    after = yield from _by_key(snapshot.positions)
    complete = set(snapshot.account_ids) - set(snapshot.incomplete_account_ids)
    held = {_instrument(each) for each in snapshot.positions if each.quantity}
    yield
    at = snapshot.observed_at
    rows: list[tuple[datetime, Position]] = []
    for number, (key, position) in enumerate(after.items()):
        if not number % _AT_ONCE:
            yield
        earlier = before.get(key)
        if _says_the_same(earlier, position):
            continue
        if earlier is not None and _is_another(earlier, position):
            rows += [(at, _closed(earlier)), (at + _NEXT_ROW, position)]
        else:
            rows.append((at, position))
    for number, (key, position) in enumerate(before.items()):
        if not number % _AT_ONCE:
            yield
        if position.quantity == 0 or key in after:
            continue
        is_moved = position.instrument_id is not None and _instrument(position) in held
        if key[0] in complete or is_moved:
            rows.append((at, _closed(position)))
    return rows


def _alone(
    snapshot: PositionsSnapshot, at: datetime, position: Position
) -> PositionsSnapshot:
    """Return a snapshot that tells of this position and of no other."""
    return PositionsSnapshot(
        broker=snapshot.broker, account_ids=(), positions=(position,), observed_at=at
    )


def _closed(position: Position) -> Position:
    return msgspec.structs.replace(position, quantity=Decimal(0))


def _says_the_same(stored: Position | None, position: Position) -> bool:
    if position.quantity == 0:  # nothing is held; the other columns do not matter
        return stored is None or stored.quantity == 0
    return stored == position


def _is_another(stored: Position, position: Position) -> bool:
    """Return whether an open position now is one in another contract.

    A value that was not known before is no change.
    """
    if 0 in (stored.quantity, position.quantity):
        return False
    fields = ["multiplier", "underlying_id", "strike"]
    is_certain = None not in (stored.underlying_id, position.underlying_id)
    if is_certain and not (stored.underlying or "").startswith(f"{stored.broker}:"):
        fields.append("underlying")
    pairs = [(getattr(stored, name), getattr(position, name)) for name in fields]
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _by_key(
    positions: Iterable[Position],
) -> Generator[None, None, dict[tuple[str, str], Position]]:
    by_key = {}
    for number, position in enumerate(positions):
        if not number % _AT_ONCE:
            yield
        by_key[_key(position)] = position
    return by_key


def _key(position: Position) -> tuple[str, str]:
    return position.account_id, position.contract_key


def _instrument(position: Position) -> tuple[str, str | None]:
    return position.account_id, position.instrument_id


def _position(*values: object) -> Position:
    fields = Position.__struct_fields__
    return msgspec.convert(dict(zip(fields, values, strict=True)), Position)
