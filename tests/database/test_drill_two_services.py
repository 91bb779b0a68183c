"""The comparison of two services finds each kind of violation."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from greeks_trio.drill.alert_exercise import RULE, Receipt
from greeks_trio.drill.comparison import Evidence
from greeks_trio.drill.explanations import Facts, compare_drill
from greeks_trio.drill.service_process import Kill, Pause
from greeks_trio.drill.two_services import TwoFacts, compare_two, service_of
from greeks_trio.model.records import FeedGap, Tick
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.simulators.deliveries import Deliveries, Delivery
from tests.drill_facts import ledger_tick_of, write_durable, write_ledger
from tests.factories import make_record
from tests.fix_postgres import connect_trio

# The wall clock at 0 of the monotonic clock.
EPOCH_S = 1_790_000_000.0
PORTS = (4001, 4002)
# One tick a second, at both services: 100, 101, ... 119.
STARTED_S, TICKS = 100, 20
RECORDS = [make_record(n) for n in range(TICKS)]
INSERT_EVENT = """
insert into alert_events (
    at, rule, figure, scope, unit, threshold, severity, kind, from_state, to_state,
    positions, missing, stale, message, message_id)
values (now(), %s, '', '', '', '', 'info', %s, %s, %s, 1, 0, 0, '', %s)
"""
STEPS = {"breach": ("ok", "breached"), "recovery": ("breached", "ok")}


class Case:
    """Two services with a feed; a test spoils what they stored, told or sent."""

    def __init__(self, directory, database):
        self.database = database
        self.directory = directory
        self.stored = list(RECORDS)
        # The times at which each service got its ticks.
        self.times = [set(range(STARTED_S, STARTED_S + TICKS)) for _ in PORTS]
        self.ends = [None, None]
        # From this second on, both services have another connection.
        self.connects_again = None
        self.kills = []
        self.pauses = [[], []]
        self.gaps = []
        self.events = ["breach", "recovery", "breach"]
        self.receipts = [Receipt(key(n), 105.0 + n) for n in range(3)]
        self.crossings = 3

    def add_gap(self, start_s, end_s, **changes):
        gap = {
            "broker": "ibkr",
            "started_at": datetime.fromtimestamp(EPOCH_S + start_s, UTC),
            "ended_at": datetime.fromtimestamp(EPOCH_S + end_s, UTC),
            "reason": "disconnected",
        }
        self.gaps.append(FeedGap(**(gap | changes)))

    def stop(self, service, first, last):
        """Give a service no tick in these seconds."""
        self.times[service] -= set(range(first, last))

    async def amiss(self):
        """Return the counts that are not 0, but for the number of crossings."""
        found = msgspec.to_builtins(await self.compare())
        assert bool(found.pop("examples")) >= bool(found["false_gaps"])
        del found["alerts"]
        return {name: number for name, number in found.items() if number}

    async def compare(self):
        ticks = [ledger_tick_of(each, STARTED_S + n) for n, each in enumerate(RECORDS)]
        write_ledger(self.directory / "ledger", ticks)
        write_durable(self.directory / "durable", [])
        self.write_deliveries()
        await self.store()
        evidence = Evidence(
            ledger=self.directory / "ledger", reports=self.directory / "durable"
        )
        facts = Facts(evidence=evidence, kills=self.kills, epoch_s=EPOCH_S)
        two = TwoFacts(
            deliveries=self.directory / "deliveries",
            opened=[{"ibkr": [(port, 99.0)]} for port in PORTS],
            pauses=self.pauses,
            receipts=self.receipts,
            crossings=self.crossings,
            epoch_s=EPOCH_S,
        )
        async with await connect_trio(self.database) as connection:
            await compare_drill(connection, facts)
            return await compare_two(connection, two)

    def write_deliveries(self):
        lines = []
        for number, port in enumerate(PORTS):
            of = {"client": number, "broker": "ibkr"}
            lines.append(Delivery(kind="opened", at=99.0, port=port, **of))
            lines += [
                Delivery(
                    at=float(second),
                    contract_key=record.contract_key,
                    event_time_ms=round(record.event_time.timestamp() * 1000),
                    **of,
                )
                for second, record in enumerate(RECORDS, start=STARTED_S)
                if second in self.times[number]
            ]
            if (end := self.ends[number]) is not None:
                lines.append(Delivery(kind="ended", at=end, **of))
        if (again := self.connects_again) is not None:
            lines = self.on_other_connections(lines, again)
        deliveries = Deliveries(self.directory / "deliveries")
        deliveries.write(lines)
        deliveries.close()

    def on_other_connections(self, lines, again):
        """Return the lines, with the later ticks on a connection for each service."""
        opened = [
            Delivery(
                kind="opened", at=again - 0.1, port=port, client=2 + n, broker="ibkr"
            )
            for n, port in enumerate(PORTS)
        ]
        later = [
            msgspec.structs.replace(each, client=each.client + 2)
            if each.at >= again
            else each
            for each in lines
        ]
        return sorted([*opened, *later], key=lambda each: each.at)

    async def store(self):
        async with TickStore(self.database).open() as sink:
            await sink.write([Tick(each, n, 0.0) for n, each in enumerate(self.stored)])
        async with JournalStore(self.database).open() as journal:
            for gap in self.gaps:
                await journal.write(gap)
        async with await connect_trio(self.database) as connection:
            for number, kind in enumerate(self.events):
                values = [RULE, kind, *STEPS[kind], key(number)]
                await connection.execute(INSERT_EVENT, values)


def key(number):
    return str(UUID(int=number))


@pytest.fixture
def case(tmp_path, emptied_database):
    return Case(tmp_path, emptied_database)


async def test_two_services_that_do_everything_are_clean(case):
    result = await case.compare()

    assert result.is_clean
    assert (result.alerts, result.examples) == (3, [])


async def test_a_tick_that_a_service_took_must_be_stored(case):
    case.stop(0, 110, 111)
    del case.stored[10]

    result = await case.compare()

    assert (result.not_stored, result.is_clean) == (1, False)
    assert result.examples[0].startswith("not stored: ibkr SPY")


async def test_a_tick_just_before_the_end_of_the_only_connection_may_be_lost(case):
    case.stop(0, 110, 120)
    case.ends = [109.3, 110.3]
    del case.stored[10]

    assert await case.amiss() == {}


async def test_a_tick_for_a_service_that_is_paused_may_be_lost(case):
    case.stop(0, 110, 111)
    case.pauses[1] = [Pause(108.0, 112.0)]
    del case.stored[10]

    assert await case.amiss() == {}


@pytest.mark.parametrize("stopped", [(), (0,), (1,)])
async def test_a_gap_while_a_service_had_the_feed_is_false(case, stopped):
    for service in stopped:
        case.stop(service, 105, 112)
    case.add_gap(104.5, 112.0, reason="killed")

    assert await case.amiss() == {"false_gaps": 1}


@pytest.mark.parametrize(("started_s", "number"), [(106.0, 0), (103.0, 1)])
async def test_a_gap_may_begin_with_the_last_words_before_a_kill(
    case, started_s, number
):
    case.stop(0, 104, 118)
    case.stop(1, 112, 118)
    case.kills = [Kill(111.2, 111.2)]
    case.add_gap(started_s, 118.0, reason="killed")

    assert await case.amiss() == ({"false_gaps": number} if number else {})


async def test_a_gap_while_neither_had_the_feed_is_true(case):
    case.stop(0, 105, 112)
    case.stop(1, 106, 115)
    case.add_gap(105.5, 112.5)

    assert await case.amiss() == {}


async def test_between_two_connections_of_killed_services_there_is_no_feed(case):
    case.connects_again = 111.0
    case.add_gap(110.1, 110.9, reason="killed")

    assert await case.amiss() == {}


async def test_a_time_without_a_feed_needs_a_gap(case):
    case.stop(0, 105, 112)
    case.stop(1, 106, 115)

    assert await case.amiss() == {"untold_gaps": 1}


async def test_a_paused_service_has_no_feed(case):
    case.stop(0, 104, 113)
    case.pauses[1] = [Pause(104.0, 112.0)]
    case.add_gap(104.0, 112.5, reason="killed")

    assert await case.amiss() == {}


async def test_a_gap_of_one_contract_is_false_if_it_had_ticks(case):
    case.add_gap(104.0, 112.0, contract_key=RECORDS[0].contract_key)

    assert await case.amiss() == {"false_gaps": 1}


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        (["breach", "recovery"], 1),
        (["breach", "breach", "recovery"], 1),
        (["breach", "recovery", "breach", "recovery"], 1),
    ],
)
async def test_each_crossing_has_one_event_in_turn(case, events, wrong):
    case.events = events
    case.receipts = [Receipt(key(n), 105.0 + n) for n in range(len(events))]

    assert await case.amiss() == {"alerts_wrong": wrong}


async def test_a_message_that_does_not_arrive_is_told(case):
    del case.receipts[1]

    assert await case.amiss() == {"not_delivered": 1}


@pytest.mark.parametrize(
    ("killed_s", "found"), [(107.0, "delivered_again"), (112.0, "delivered_twice")]
)
async def test_a_message_comes_twice_only_with_a_kill_at_its_delivery(
    case, killed_s, found
):
    case.receipts += [Receipt(key(1), 115.0), Receipt("of the service", 115.0)]
    case.kills = [Kill(killed_s, killed_s)]

    assert await case.amiss() == {found: 1}


def test_a_port_that_is_used_again_belongs_to_its_last_user():
    opened = [{"ibkr": [(7, 1.0), (7, 5.0)]}, {"ibkr": [(7, 3.0), (8, 3.0)]}]

    found = [service_of(opened, "ibkr", 7, at) for at in (0.5, 1.0, 3.0, 4.0, 5.0)]

    assert found == [None, 0, 1, 1, 0]
