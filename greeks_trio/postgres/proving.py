"""Find out whether the database commits, and whether it takes rows at all.

An answer to a query proves neither.  A commit may wait for ever for a standby, and a
server may refuse every row of everybody, with the code of a bad row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
import psycopg
from psycopg.rows import TupleRow

from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Tick, UnifiedPositionRecord
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.failures import plain_message
from greeks_trio.postgres.tick_rows import INSERT_NEW, pack_columns

# A few bytes in the write-ahead log, which the commit writes to disk and sends to the
# standbys.  No table is involved and no right is needed.
_COMMIT_SOMETHING: Final = "select pg_logical_emit_message(true, 'greeks_trio', '')"

# `sync_state` is null for a role without the rights of `pg_monitor`.
_STANDBYS: Final = """
select current_setting('synchronous_standby_names'),
       (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum'))
"""


async def commit_something(connection: TrioConnection[TupleRow]) -> None:
    """Return when a commit has taken effect; all earlier commits have then, too.

    Args:
        connection: In autocommit.
    """
    await connection.execute(_COMMIT_SOMETHING)


async def missing_standby(connection: TrioConnection[TupleRow]) -> str | None:
    """Return a sentence if commits wait for a standby that is not connected."""
    cursor = await connection.execute(_STANDBYS)
    [(names, connected)] = await cursor.fetchall()
    if not names or connected:
        return None
    return (
        f"each commit waits for the standby servers '{names}', and this role sees "
        "none of them connected; start one, or change "
        "synchronous_standby_names"
    )


class RowProbe:
    """Offers rows that the database should take, and takes them back.

    Attributes:
        stored: A tick that the database has stored, if there was one.
    """

    def __init__(self) -> None:
        self.stored: Tick | None = None

    async def ask(self, connection: TrioConnection[TupleRow]) -> None:
        """Return if the database takes a row.

        Raises:
            StoreUnavailable: it takes none, so no single row is at fault.
            psycopg.Error: the connection broke.
        """
        refusal = psycopg.Error()
        for tick in self._samples():
            try:
                async with (
                    connection.transaction(force_rollback=True),
                    connection.cursor() as cursor,
                ):
                    columns = await pack_columns(cursor, [tick])
                    await cursor.execute(INSERT_NEW, columns)
            except psycopg.Error as exc:
                if connection.closed:
                    raise
                refusal = exc
            else:
                return
        raise StoreUnavailable(
            f"PostgreSQL takes no row at all: {plain_message(refusal)}",
            sqlstate=refusal.sqlstate,
            needs_person=True,
        ) from refusal

    def _samples(self) -> Iterator[Tick]:
        if self.stored is not None:
            yield Tick(self.stored.record, _other_fingerprint(), 0.0)
        yield sample_tick(datetime.now(UTC))


def sample_tick(at: datetime) -> Tick:
    """Return a tick that no broker sends, with this time, UTC."""
    record = msgspec.structs.replace(_SAMPLE, event_time=at, received_at=at)
    return Tick(record, _other_fingerprint(), 0.0)


def _other_fingerprint() -> int:
    """Return one with which no row is stored already."""
    return random.getrandbits(63)


_SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SAMPLE: Final = UnifiedPositionRecord(
    broker="probe",
    account_id="probe",
    underlying="probe",
    contract_key=ContractKey("probe"),
    event_time=_SOME_TIME,
    received_at=_SOME_TIME,
    expiration=None,
    strike=None,
    option_type=None,
    quantity=None,
    delta=0.0,
    gamma=None,
    theta=None,
    vega=None,
    rho=None,
    implied_volatility=None,
    underlying_price=None,
    availability="unknown",
    source_payload=b"{}",
)
