"""The comparison finds each kind of violation; a check that cannot fail is a defect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from greeks_trio.drill.comparison import (
    Ages,
    BrokerCounts,
    Evidence,
    compare,
    last_row_id,
    read_ages,
    read_largest_gaps,
)
from greeks_trio.drill.explanations import Facts, Interruption, compare_drill
from greeks_trio.drill.service_process import Kill
from greeks_trio.model.records import FeedGap, Tick
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.tick_store import TickStore
from tests.drill_facts import ledger_tick_of, write_durable, write_ledger
from tests.factories import make_record
from tests.fix_postgres import connect_trio

# The wall clock at 0 of the monotonic clock.
EPOCH_S = 1_790_000_000.0
SENT_S = 100.0
CLEAN = {
    "lost": 0,
    "duplicates": 0,
    "unexpected": 0,
    "unexplained": 0,
    "missing_gaps": 0,
}


def record_of(number, **changes):
    """Return a record whose payload names its own event, as the broker's does."""
    record = make_record(number, **changes)
    time_ms = round(record.event_time.timestamp() * 1000)
    name = "_updated" if record.broker == "ibkr" else "time"
    payload = msgspec.json.encode({name: time_ms})
    return msgspec.structs.replace(record, source_payload=payload)


RECORDS = [record_of(n) for n in range(3)]


def wall(monotonic_s):
    return datetime.fromtimestamp(EPOCH_S + monotonic_s, UTC)


class Case:
    """Three ticks that were sent, reported durable and stored; a test spoils them."""

    def __init__(self, directory, database):
        self.database = database
        self.ledger = directory / "ledger.jsonl"
        self.durable = directory / "durable"
        self.sent = [ledger_tick_of(each, SENT_S + n) for n, each in enumerate(RECORDS)]
        self.reported = list(self.sent)
        self.stored = list(RECORDS)
        self.gaps = []
        self.clock_error_s = 0.0
        self.kills = []
        self.interruptions = []

    def forget(self, number, *, reported=False):
        """Remove a tick from the table, and from the reports unless ``reported``."""
        self.stored.remove(RECORDS[number])
        if not reported:
            self.reported.remove(self.sent[number])

    def add_gap(self, start_s, end_s, reason="disconnected", **changes):
        gap = {
            "broker": "ibkr",
            "started_at": wall(start_s),
            "ended_at": None if end_s is None else wall(end_s),
            "reason": reason,
        }
        self.gaps.append(FeedGap(**(gap | changes)))

    async def compare(self):
        """Return the result of the comparison."""
        write_ledger(self.ledger, self.sent)
        write_durable(self.durable, self.reported)
        await self.store()
        facts = Facts(
            evidence=Evidence(
                ledger=self.ledger,
                reports=self.durable,
                ignored_accounts=("watchlist",),
                clock_error=lambda _: self.clock_error_s,
            ),
            kills=self.kills,
            interruptions=self.interruptions,
            epoch_s=EPOCH_S,
        )
        async with await connect_trio(self.database) as connection:
            return await compare_drill(connection, facts)

    async def amiss(self):
        """Return the counts of violations that are not 0."""
        result = msgspec.to_builtins(await self.compare())
        return {name: result[name] for name in CLEAN if result[name]}

    async def store(self):
        async with TickStore(self.database).open() as sink:
            if self.stored:
                await sink.write(
                    [Tick(each, n, 0.0) for n, each in enumerate(self.stored)]
                )
        async with JournalStore(self.database).open() as journal:
            for gap in self.gaps:
                await journal.write(gap)


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def case(tmp_path, database):
    return Case(tmp_path, database)


async def test_a_clean_drill_is_clean(case):
    result = await case.compare()

    assert result.is_clean
    assert (result.sent, result.durable, result.persisted) == (3, 3, 3)
    assert result.examples == []


async def test_a_tick_that_was_sent_over_two_connections_counts_once(case):
    case.sent.append(case.sent[0])

    result = await case.compare()

    assert result.is_clean
    assert result.sent == 3


async def test_a_durable_tick_without_a_row_is_lost_whatever_may_excuse_it(case):
    case.forget(1, reported=True)
    case.kills = [Kill(SENT_S + 1, SENT_S + 1)]
    case.add_gap(0.0, None)

    assert await case.amiss() == {"lost": 1}


async def test_a_row_with_another_value_is_unexpected_and_its_tick_is_lost(case):
    case.stored[1] = msgspec.structs.replace(RECORDS[1], vega=0.601)

    result = await case.compare()

    assert (result.lost, result.unexpected) == (1, 1)
    assert any("lost: ibkr" in text for text in result.examples)
    assert any("unexpected: row" in text for text in result.examples)


async def test_two_rows_of_one_tick_are_a_duplicate_even_if_their_keys_differ(case):
    case.stored.append(RECORDS[0])  # the fingerprint is another here

    assert await case.amiss() == {"duplicates": 1}


async def test_a_row_that_was_never_sent_is_unexpected(case):
    case.stored.append(record_of(9))

    assert await case.amiss() == {"unexpected": 1}


async def test_a_report_of_a_tick_that_was_never_sent_is_unexpected(case):
    case.reported.append(ledger_tick_of(record_of(9)))

    assert await case.amiss() == {"unexpected": 1}


@pytest.mark.parametrize("payload", [b"{}", b'{"_updated": 1}'])
async def test_a_row_with_the_payload_of_another_event_is_unexpected(case, payload):
    case.stored[2] = msgspec.structs.replace(RECORDS[2], source_payload=payload)

    assert await case.amiss() == {"unexpected": 1}


async def test_a_tick_that_is_nowhere_is_unexplained_without_a_reason(case):
    case.forget(1)

    result = await case.compare()

    assert result.unexplained == 1
    assert not result.is_clean
    assert result.examples[0].startswith("unexplained: ibkr SPY")


@pytest.mark.parametrize(
    ("killed_after_s", "unexplained"),
    [(0.0, 0), (0.3, 0), (0.4, 1), (-0.2, 0), (-0.3, 1)],
)
async def test_only_ticks_from_just_before_a_kill_may_be_missing(
    case, killed_after_s, unexplained
):
    case.forget(1)
    at = SENT_S + 1 + killed_after_s
    case.kills = [Kill(at, at)]

    assert (await case.compare()).unexplained == unexplained


@pytest.mark.parametrize(
    ("start_s", "end_s", "unexplained"),
    [
        (0.5, 1.5, 0),
        (1.9, 2.5, 0),
        (2.1, 3.0, 1),
        (-1.0, 0.1, 0),
        (-1.0, -0.1, 1),
        (0.5, None, 0),
        (1.5, 0.5, 0),  # the clock was set back meanwhile
    ],
)
async def test_ticks_within_a_gap_may_be_missing(case, start_s, end_s, unexplained):
    case.forget(1)
    case.add_gap(SENT_S + start_s, None if end_s is None else SENT_S + end_s)

    assert (await case.compare()).unexplained == unexplained


@pytest.mark.parametrize(
    "changes",
    [
        {"broker": "tastytrade"},
        {"contract_key": "SPY   261218P00600000"},
        {"account_id": "U7654321"},
        {"reason": "ticks lost"},
    ],
)
async def test_a_gap_of_something_else_explains_nothing(case, changes):
    case.forget(1)
    case.add_gap(SENT_S, SENT_S + 2, **changes)

    assert await case.amiss() == {"unexplained": 1}


async def test_each_copy_of_a_missing_tick_needs_its_reason(case):
    case.forget(1)
    case.add_gap(SENT_S, SENT_S + 2)
    case.sent.append(msgspec.structs.replace(case.sent[1], sent_monotonic=SENT_S + 9))

    assert await case.amiss() == {"unexplained": 1}


async def test_an_interruption_has_to_be_among_the_gaps(case):
    case.interruptions = [
        Interruption(1, "ibkr", 50.0, 55.0),
        Interruption(2, "tastytrade", 50.0, 55.0),
        Interruption(3, "ibkr", 70.0, 70.0),
    ]
    case.add_gap(54.0, 60.0)
    case.add_gap(69.0, 71.0, reason="ticks lost")
    case.add_gap(69.0, 71.0, contract_key="SPY   261218P00600000")

    result = await case.compare()

    assert result.missing_gaps == 2
    assert result.examples == [
        "no gap of tastytrade for fault 2",
        "no gap of ibkr for fault 3",
    ]


@pytest.mark.parametrize("error_s", [30.0, -30.0])
@pytest.mark.parametrize("is_told_by_right_clock", [True, False])
async def test_a_wrong_clock_of_the_service_is_taken_into_account(
    case, error_s, is_told_by_right_clock
):
    case.clock_error_s = error_s
    shift_s = 0.0 if is_told_by_right_clock else error_s
    case.forget(1)
    case.add_gap(SENT_S + shift_s, SENT_S + 2.0 + shift_s)
    case.interruptions = [Interruption(1, "ibkr", SENT_S + 1, SENT_S + 1.5)]

    assert await case.amiss() == {}


async def test_a_gap_that_was_never_ended_is_over_with_the_next_row(case):
    case.forget(1)
    start = (RECORDS[0].received_at - wall(0.0)).total_seconds() - 50.0
    case.add_gap(start, None)
    case.sent[1] = msgspec.structs.replace(case.sent[1], sent_monotonic=start + 49.0)
    assert await case.amiss() == {}

    case.sent[1] = msgspec.structs.replace(case.sent[1], sent_monotonic=start + 52.0)
    case.stored = []  # they are there
    assert await case.amiss() == {"unexplained": 1}


async def test_ticks_of_watched_contracts_do_not_count_as_lost(case):
    case.stored.append(record_of(5, account_id="watchlist", quantity=None))

    assert await case.amiss() == {}


async def test_the_time_of_an_event_is_compared_to_the_millisecond(case):
    late = RECORDS[0].event_time + timedelta(milliseconds=1)
    case.stored[0] = msgspec.structs.replace(RECORDS[0], event_time=late)

    assert (await case.compare()).lost == 1


async def test_a_demo_counts_by_broker_and_only_newer_rows(case):
    case.stored = [RECORDS[0]]
    write_ledger(case.ledger, [])
    await case.store()
    other = record_of(5, broker="tastytrade")
    case.sent = [ledger_tick_of(each, SENT_S) for each in (*RECORDS[1:], other)]
    case.stored = [RECORDS[1], other, record_of(9, account_id="watchlist")]
    write_ledger(case.ledger, case.sent)
    write_durable(case.durable, case.sent)

    async with await connect_trio(case.database) as connection:
        before = await last_row_id(connection)
        await case.store()
        evidence = Evidence(ledger=case.ledger, reports=case.durable, after_id=before)
        counts = await compare(connection, evidence)
        ages = await read_ages(connection)
        gaps = await read_largest_gaps(connection, before)

    names = BrokerCounts.__struct_fields__
    assert [getattr(counts["ibkr"], name) for name in names] == [2, 2, 1, 0, 1]
    assert [getattr(counts["tastytrade"], name) for name in names] == [1, 1, 0, 0, 0]
    assert ages == Ages(500.0, 500.0, 500.0, 500.0)
    assert gaps.keys() == {"ibkr"}


async def test_a_demo_without_ticks_has_no_ages(case):
    write_ledger(case.ledger, [])
    write_durable(case.durable, [])

    async with await connect_trio(case.database) as connection:
        counts = await compare(
            connection, Evidence(ledger=case.ledger, reports=case.durable)
        )

        assert {each.sent for each in counts.values()} == {0}
        assert await read_ages(connection) == Ages()
