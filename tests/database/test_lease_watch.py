"""The lease of a feed that passes between two services: who may connect, and how."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.leases.faults import SharingFaults
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.journal_store import JournalStore
from tests.factories import make_position
from tests.fix_postgres import connect

QUANTITIES = "select quantity::int from positions order by observed_at"


class Service:
    """The part of a service that keeps the lease of IBKR's feed."""

    def __init__(self, name, connection):
        self.journal = Journal()
        self.health = FeedHealth("ibkr", self.journal)
        self.lease = FeedLease("ibkr", name)
        self.conditions = Conditions()
        self.watch = FeedLeaseWatch(
            self.health,
            self.lease,
            self.journal,
            SharingFaults(self.conditions),
            is_exclusive=True,
        )
        self._connection = connection
        self.watch.begin()

    @property
    def has_lease(self):
        return self.lease.epoch is not None

    async def look(self):
        await self.watch.look(self._connection)

    async def stand_by(self):
        """Look as a standby that asks for the lease."""
        self.health.sharing.is_standby = True
        await self.look()
        self.health.sharing.is_standby = False

    def read_accounts(self, *account_ids, closed=()):
        self.health.positions.read([*account_ids, *closed], [], closed=closed)

    async def end(self):
        self.health.service_stopped()
        await self.watch.give_back(self._connection)

    async def store(self, sink):
        while waiting := self.journal.oldest():
            await sink.write(waiting.entry)
            self.journal.remove(waiting.entry)


@pytest.fixture
def observer(emptied_database):
    with connect(emptied_database) as observer:
        yield observer


@pytest.fixture
async def pair(emptied_database, observer):
    async with JournalStore(emptied_database).open() as sink:
        yield [Service(name, sink._connection) for name in ("one", "two")]


def lose(observer):
    """Let the lease and the times be those of a service that was killed."""
    observer.execute("update leases set expires_at = now() - interval '1 s'")
    observer.execute("update feed_coverage set renewed_at = now() - interval '25 s'")


async def settle(service):
    """Let the database answer for long enough, and look as a standby."""
    service.watch._first_look_at = trio.current_time() - 60
    await service.stand_by()


async def test_a_service_that_has_just_got_the_lease_has_time_to_connect(pair):
    one, two = pair
    await one.look()
    await two.stand_by()
    for _ in range(3):
        await one.look()
        await two.stand_by()
    assert one.has_lease

    # Also one that has streamed before, and lost its connection long ago.
    one.health.connected()
    await one.look()
    one.health.disconnected("gone")
    await one.look()
    one.watch._not_streaming_since = one.watch._taken_at = trio.current_time() - 31
    await two.stand_by()
    await one.look()
    await one.look()
    assert not one.has_lease
    await two.look()
    await one.stand_by()
    await two.look()
    await two.look()
    assert two.has_lease


async def test_the_session_of_a_holder_that_was_killed_is_taken_once(pair, observer):
    one, two = pair
    one.health.connected()
    await one.look()
    await two.stand_by()
    lose(observer)
    await settle(two)
    assert two.has_lease
    assert two.health.sharing.takes_session
    two.health.sharing.session_taken()
    assert not two.health.sharing.takes_session


async def test_the_session_of_a_holder_that_was_stopped_is_taken(pair):
    one, two = pair
    one.health.connected()
    await one.look()
    await two.stand_by()
    await one.end()
    await two.stand_by()
    assert two.has_lease
    assert two.health.sharing.takes_session


async def test_a_session_that_the_holder_did_not_have_is_left_alone(pair, observer):
    """TWS has it; the holder has waited for its end until it was stopped or killed."""
    one, two = pair
    one.health.connected()
    await one.look()
    one.health.disconnected("another program uses the session")
    await one.look()
    await two.stand_by()
    await one.end()
    await two.stand_by()
    assert two.has_lease
    assert not two.health.sharing.takes_session

    await two.watch.give_back(two._connection)
    await one.look()
    assert one.has_lease
    lose(observer)
    await settle(two)
    assert two.has_lease
    assert not two.health.sharing.takes_session


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_session_of_long_ago_is_left_alone(pair, observer, is_killed):
    """A person may use TWS since then."""
    one, two = pair
    one.health.connected()
    await one.look()
    if not is_killed:
        await one.end()
    lose(observer)
    observer.execute("update feed_coverage set renewed_at = now() - interval '1 h'")
    await settle(two)
    assert two.has_lease
    assert not two.health.sharing.takes_session


async def test_a_reading_that_another_holder_has_overtaken_is_stored_again(
    emptied_database, pair, observer
):
    one, two = pair
    stores = [
        JournalStore(emptied_database, leases={"ibkr": each.lease}) for each in pair
    ]
    async with stores[0].open() as first, stores[1].open() as second:
        two.health.connected()
        await two.look()
        two.health.positions.read(["U1234567"], [make_position(1)])
        await two.store(second)
        two.health.disconnected("gone")
        await two.look()
        await two.lease.release(second._connection, ends=False)

        one.health.connected()
        await one.look()
        one.health.positions.read(["U1234567"], [make_position(5)])
        await one.store(first)
        await two.stand_by()
        await one.end()

        # Meanwhile the position became what the second service has read before.
        await two.stand_by()
        assert two.has_lease
        two.health.positions.read(["U1234567"], [make_position(1)])
        await two.store(second)
    assert observer.execute(QUANTITIES).fetchall() == [(1,), (5,), (1,)]


async def test_an_open_gap_that_another_service_has_ended_is_open_again_with_its_loss(
    emptied_database, pair, observer
):
    one, two = pair
    one.lease.is_settled = two.lease.is_settled = True
    stores = [
        JournalStore(emptied_database, leases={"ibkr": each.lease}) for each in pair
    ]
    async with stores[0].open() as first, stores[1].open() as second:
        one.health.connected()
        await one.look()
        one.health.disconnected("gone")
        await one.look()
        await one.store(first)
        assert _open_gaps(observer) == 1

        two.health.gaps.started(GapReason.DISCONNECTED)
        two.health.connected()
        await two.look()
        await two.store(second)
        assert _open_gaps(observer) == 0

        one.watch._first_look_at = trio.current_time() - 60
        await one.look()
        lose(observer)
        await one.look()
        await one.store(first)
    assert _open_gaps(observer) == 1


async def test_two_services_with_one_name_are_told(pair):
    connection = pair[0]._connection
    same = [Service("same", connection) for _ in range(2)]
    for each in (same[0], *same):
        await each.look()
    assert not any(each.conditions.entries() for each in same)
    for each in same:
        await each.look()
    # Once, it may be the row of another database.
    assert not any(each.conditions.entries() for each in same)
    for each in same:
        await each.look()
    for each in same:
        [(words, sentence)] = each.conditions.entries().items()
        assert words == "name in use feed:ibkr"
        assert "another service has the name same" in sentence

    await same[0].look()
    same[0].lease.same_name_at = trio.current_time() - 61
    await same[0].look()
    assert not same[0].conditions.has(ConditionKind.NAME_IN_USE)


async def test_accounts_that_the_holder_does_not_read_are_told(pair, observer):
    one, two = pair
    # Another feed of the holder, and an earlier connection.
    observer.execute(
        "insert into feed_coverage (broker, holder, started_at, covered_until, accounts)"
        " values ('tastytrade', 'one', now() + interval '1 h', now(), '{A2}'),"
        " ('ibkr', 'one', now() - interval '1 h', now(), '{A2}')"
    )
    for each in pair:
        each.health.connected()
    two.read_accounts("A1", "A2")
    await one.look()
    await two.look()
    # The holder does not say which accounts it reads, as versions before did.
    assert not two.conditions.entries()

    one.read_accounts("A1")
    await one.look()
    await two.look()
    [(words, sentence)] = two.conditions.entries().items()
    assert words == "accounts not stored ibkr"
    assert "1 account (A2)" in sentence
    assert "one has the lease feed:ibkr" in sentence
    assert not one.conditions.entries()

    two.health.disconnected("gone")
    await two.look()
    assert not two.conditions.entries()
    two.health.connected()
    await two.look()
    assert two.conditions.has(ConditionKind.ACCOUNTS_NOT_STORED)

    one.read_accounts("A1", "A2", "A3")
    await one.look()
    await two.look()
    assert not two.conditions.entries()
    one.read_accounts("A1")
    await one.look()
    await two.look()
    assert two.conditions.has(ConditionKind.ACCOUNTS_NOT_STORED)

    # The account is closed, and holds nothing any more.
    two.read_accounts("A1", closed=["A2"])
    await two.look()
    assert not two.conditions.entries()


async def test_accounts_of_the_holder_are_told_to_the_end_of_its_connection(pair):
    one, two = pair
    for each in pair:
        each.health.connected()
    one.read_accounts("A1")
    two.read_accounts("A1", "A2")
    await one.look()
    one.health.disconnected("gone")
    await one.look()
    assert one.lease.epoch is not None
    await two.look()
    assert two.conditions.has(ConditionKind.ACCOUNTS_NOT_STORED)


def _open_gaps(observer):
    query = "select count(*) from feed_gaps where ended_at is null"
    [(number,)] = observer.execute(query).fetchall()
    return number
