"""Rows that were written with a wrong clock: newer knowledge wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.schema_files import load_migrations
from tests.database.risk_rows import CALL, hold, risk_database, rows, seconds, tick
from tests.factories import SPY_CALL, make_position
from tests.fix_postgres import connect, connect_trio

YEAR = timedelta(days=365)
LATER = datetime.now(UTC).date() + timedelta(days=30)
MINUTE = timedelta(seconds=60)


def snapshot(*positions, at):
    return PositionsSnapshot(
        broker="ibkr",
        account_ids=("U1234567",),
        positions=tuple(
            msgspec.structs.replace(each, expiration=LATER) for each in positions
        ),
        observed_at=at,
    )


def open_keys(db):
    """Return the open contracts by each view, and as of this moment."""
    return {
        source: [row["contract_key"] for row in rows(db, f"select * from {source}")]
        for source in (
            "positions_asof('infinity')",
            "positions_asof(statement_timestamp())",
            "latest_greeks",
        )
    }


@pytest.mark.parametrize("ahead", [YEAR, timedelta(minutes=10), timedelta(seconds=20)])
async def test_a_position_that_was_written_ahead_is_closed_by_its_sale(database, ahead):
    now = datetime.now(UTC)
    with connect(database) as db:
        async with JournalStore(database).open() as journal:
            await journal.write(snapshot(make_position(2), at=now + ahead))
            assert {tuple(keys) for keys in open_keys(db).values()} == {(SPY_CALL,)}

            await journal.write(snapshot(at=datetime.now(UTC)))

        assert set(map(len, open_keys(db).values())) == {0}
        assert rows(db, "select * from portfolio_greeks") == []
        # It is stored once: the same reading again changes nothing.
        async with JournalStore(database).open() as journal:
            await journal.write(snapshot(at=datetime.now(UTC)))
        assert len(rows(db, "select * from positions")) == 2


async def test_two_contracts_in_one_reading_ahead_keep_their_order(database):
    """The closed one and the one that took its key are a microsecond apart."""
    ahead = datetime.now(UTC) + YEAR
    with connect(database) as db:
        async with JournalStore(database).open() as journal:
            await journal.write(snapshot(make_position(2), at=ahead))
            await journal.write(snapshot(make_position(3, multiplier=10), at=ahead))

        [row] = rows(db, "select * from positions_asof('infinity')")
    assert (row["quantity"], row["multiplier"]) == (3, 10)


async def test_the_migration_makes_old_rows_from_the_future_count_from_now(
    empty_database,
):
    now = datetime.now(UTC)
    until_7, rest = load_migrations()[:7], load_migrations()
    with connect(empty_database) as db:
        async with await connect_trio(empty_database) as connection:
            await migrate(connection, until_7)
            for number, ahead in enumerate((-seconds(60), YEAR, 2 * YEAR)):
                hold(db, number + 1, at=now + ahead, expiration=LATER)
            await migrate(connection, rest)

        [row] = rows(db, "select * from positions_asof(statement_timestamp())")
        assert row["quantity"] == 3
        hold(db, 0, at=datetime.now(UTC), expiration=LATER)
        assert rows(db, "select * from positions_asof('infinity')") == []


@pytest.mark.parametrize("ahead", [YEAR, timedelta(hours=2), timedelta(minutes=6)])
def test_a_tick_from_the_future_hides_no_other(database, ahead):
    now = datetime.now(UTC)
    with risk_database(database) as db:
        hold(db, 2, at=now - MINUTE, expiration=LATER)
        tick(db, event_time=now - seconds(5), delta=0.4, underlying_price=650)
        tick(db, event_time=now + ahead, delta=0.6)

        [row] = rows(db, "select * from latest_greeks")
        assert (row["delta"], row["is_stale"]) == (0.4, False)


def test_a_tick_that_was_received_by_a_clock_ahead_counts_and_grows_old(database):
    now = datetime.now(UTC)
    with risk_database(database) as db:
        hold(db, 2, at=now - MINUTE, expiration=LATER)
        tick(db, event_time=now - seconds(2), received_at=now + YEAR, rho=None)

        [row] = rows(db, "select * from latest_greeks")
        assert row["delta"] == 0.5
        assert 0 <= row["age_s"] < 30
        assert row["received_at"] < now + MINUTE
        [row] = rows(
            db,
            f"select * from greeks_asof('{now + timedelta(minutes=1)}'::timestamptz)",
        )
        assert row["delta"] == 0.5


def test_a_price_of_the_underlying_from_the_future_is_not_the_newest_for_ever(database):
    now = datetime.now(UTC)
    other = "SPY   251219P00600000"
    third = "SPY   251219P00650000"
    with risk_database(database) as db:
        for key in (CALL, other, third):
            hold(db, 2, key, at=now - MINUTE, expiration=LATER)
        tick(
            db,
            event_time=now - seconds(20),
            underlying_price=500,
            underlying_price_at=now + YEAR,
        )
        at = now - seconds(2)
        tick(db, other, event_time=at, underlying_price=650, underlying_price_at=at)
        tick(db, third, event_time=now - seconds(1), underlying_price=None)

        found = {
            row["contract_key"]: row["underlying_price"]
            for row in rows(db, "select * from latest_greeks")
        }
    assert found[third] == 650


async def test_a_gap_from_the_future_covers_the_time_in_which_it_was_written(database):
    now = datetime.now(UTC)

    def gap(**changes):
        return FeedGap(
            broker="ibkr", started_at=now + YEAR, reason=GapReason.SILENCE, **changes
        )

    with connect(database) as db:
        async with JournalStore(database).open() as journal:
            await journal.write(gap())
            [before] = rows(db, "select * from outages")
            end = datetime.now(UTC) + timedelta(minutes=2)
            await journal.write(LeftoverGaps(broker="ibkr", own=(), ended_at=end))
        [after] = rows(db, "select * from outages")

    assert abs(before["started_at"] - now) < MINUTE
    assert before["ended_at"] is None
    assert after["started_at"] == before["started_at"]
    assert after["ended_at"] == end


def test_every_table_can_be_published(database):
    """A publication of all tables stops updates of tables without a replica identity."""
    with connect(database) as db:
        db.execute("create publication everything for all tables")
        keyless = rows(
            db,
            "select oid::regclass from pg_class where relkind in ('r', 'p')"
            " and relnamespace = 'public'::regnamespace and relreplident = 'd'"
            " and not exists (select from pg_index where indrelid = pg_class.oid"
            " and indisprimary)",
        )
        db.execute(
            "insert into feed_gaps (broker, started_at, reason)"
            " values ('ibkr', now(), 'silence')"
        )
        db.execute("update feed_gaps set ended_at = now()")
    assert keyless == []
