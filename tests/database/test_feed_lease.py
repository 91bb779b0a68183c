"""The lease of a feed in the real table: its holder writes, and it follows the feed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.leases.faults import SharingFaults
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.leases.task import run_feed_leases
from greeks_trio.model.records import LeftoverGaps, PositionsSnapshot
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.lease import LeaseLost
from greeks_trio.waiting import WakeUp, utc_now
from tests.factories import make_position
from tests.fix_postgres import connect


@pytest.fixture
def lease():
    lease = FeedLease("ibkr", "one")
    lease.is_settled = lease.knows_earlier = True
    return lease


@pytest.fixture
def observer(emptied_database):
    with connect(emptied_database) as observer:
        yield observer


@pytest.fixture
async def sink(emptied_database, lease):
    store = JournalStore(emptied_database, leases={"ibkr": lease})
    async with store.open() as sink:
        yield sink


def snapshot(*positions):
    return PositionsSnapshot(
        broker="ibkr",
        account_ids=("U1234567",),
        positions=positions,
        observed_at=utc_now(),
    )


async def test_positions_are_closed_by_the_holder_of_the_lease_only(
    sink, observer, lease
):
    held = snapshot(make_position(3))
    await sink.write(held)
    observer.execute("update leases set holder = 'two', epoch = epoch + 1")
    await sink.write(snapshot())
    quantities = "select quantity::int from positions order by observed_at"
    assert observer.execute(quantities).fetchall() == [(3,)]
    assert lease.left_records

    observer.execute("update leases set expires_at = '-infinity'")
    await lease.take(sink._connection)
    await sink.write(snapshot())
    assert observer.execute(quantities).fetchall() == [(3,), (0,)]


async def test_of_two_services_that_take_an_expired_lease_one_gets_it(sink, observer):
    connection = sink._connection
    one, two, three = (FeedLease("ibkr", name) for name in ("one", "two", "three"))
    await three.take(connection)
    await one.take(connection)
    assert (one.epoch, one.elsewhere) == (None, "three")
    observer.execute("update leases set expires_at = now() - interval '1 s'")
    await two.take(connection, from_expired=False)
    assert two.elsewhere == "three"
    await two.take(connection)
    await one.take(connection)
    assert (two.epoch, one.epoch, one.elsewhere) == (2, None, "two")
    assert two.follows == "three"
    async with connection.transaction():
        with pytest.raises(LeaseLost):
            await three.guard(connection)
        await two.guard(connection)
    await two.release(connection, ends=False)
    await one.take(connection, from_expired=False)
    assert one.epoch == 3
    assert one.follows is None


@pytest.fixture
def watch(lease):
    health = FeedHealth("ibkr", Journal())
    return FeedLeaseWatch(
        health,
        lease,
        health.gaps._journal,
        SharingFaults(Conditions()),
        is_exclusive=False,
    )


async def test_a_service_without_a_feed_gives_the_lease_to_one_that_asks(
    sink, observer, watch
):
    connection, other = sink._connection, FeedLease("ibkr", "two")
    watch.begin()
    watch.health.connected()
    await watch.look(connection)
    await other.take(connection, asks=True)
    await watch.look(connection)
    assert watch.lease.epoch == 1  # it streams, so it keeps the lease
    assert other.elsewhere == "one"

    watch.health.disconnected("gone")
    await watch.look(connection)  # it reads that the other one has asked
    await watch.look(connection)
    await other.take(connection)
    assert (watch.lease.epoch, other.epoch) == (None, 2)
    [(until, ended)] = observer.execute(
        "select covered_until >= started_at, ended from feed_coverage"
    ).fetchall()
    assert until
    assert ended


async def test_a_connection_that_ended_while_the_database_was_away_has_its_end(
    sink, observer, watch
):
    health, connection = watch.health, sink._connection
    watch.begin()
    health.connected()
    await watch.look(connection)
    read_at = []
    for _ in range(2):
        # The second connection begins and ends without a look.
        await trio.sleep(0.01)
        health.frames_read(1, health.now())
        read_at.append(health.last_read.frame_at)
        health.disconnected("gone")
        health.disconnected("still gone", attempt=1)
        await trio.sleep(0.01)
        health.connected()
    await watch.look(connection)
    rows = observer.execute(
        "select covered_until, ended from feed_coverage order by started_at"
    ).fetchall()
    assert rows[:2] == [(read_at[0], True), (read_at[1], True)]
    assert [ended for _, ended in rows[2:]] == [False]
    assert not health.sharing.ended_connections


async def test_the_ends_of_many_connections_take_little_memory(watch):
    health = watch.health
    for _ in range(1_100):
        health.connected()
        health.disconnected("gone")
    assert len(health.sharing.ended_connections) == 1_000


async def test_with_the_lease_everything_is_told_that_was_left_to_the_other_one(
    sink, observer, watch
):
    connection, health = sink._connection, watch.health
    journal = health.gaps._journal
    observer.execute(
        "insert into leases values ('feed:ibkr', 'two', 1, now() + interval '1 h')"
    )
    watch.begin()
    health.connected()
    await watch.look(connection)
    assert health.sharing.holder == "two"
    health.positions.read(["U1234567"], [make_position(1)])
    for entry in [journal.oldest().entry]:
        await sink.write(entry)
        journal.remove(entry)
    assert observer.execute("select from positions").rowcount == 0

    observer.execute("update leases set expires_at = '-infinity'")
    await watch.look(connection)
    leftover, positions = (each.entry for each in journal.not_on_disk())
    assert isinstance(leftover, LeftoverGaps)
    await sink.write(positions)
    assert observer.execute("select from positions").rowcount == 1
    assert health.sharing.holder is None


async def test_a_lease_that_was_renewed_meanwhile_is_not_taken(
    sink, observer, monkeypatch
):
    connection = sink._connection
    one, two = (FeedLease("ibkr", name) for name in ("one", "two"))
    await two.take(connection)
    observer.execute("update leases set expires_at = now() - interval '1 s'")
    row = await one._read(connection)
    await two.take(connection)

    async def read_before(_connection):
        return row

    monkeypatch.setattr(one, "_read", read_before)
    await one.take(connection)
    assert one.epoch is None
    async with connection.transaction():
        await two.guard(connection)


async def test_a_lost_connection_to_the_database_settles_nothing(
    emptied_database, sink, nursery, watch
):
    """The journal may connect again before the lease does."""
    configs = [emptied_database]
    nursery.start_soon(run_feed_leases, lambda: configs[0], [watch], WakeUp())
    await watch._looked.wait()
    watch._first_look_at = trio.current_time() - 60
    watch.health.status_changed.wake()
    await watch._looked.wait()
    assert watch.lease.is_settled

    configs[0] = replace(emptied_database, ports=(1,))
    await sink._connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    with trio.fail_after(10):
        while watch.lease.is_settled:  # noqa: ASYNC110 - nothing wakes at the end
            await trio.sleep(0.05)
