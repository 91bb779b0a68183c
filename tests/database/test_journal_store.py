"""Positions and gaps in the real tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot
from greeks_trio.postgres.journal_store import JournalStore, changed_positions
from greeks_trio.waiting import run_at_once
from tests.factories import SPY_CALL, SPY_PUT, START, make_position
from tests.fix_postgres import connect

BOTH = ("U1234567", "U7654321")


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows and make partitions."""
    return emptied_database


@pytest.fixture
async def sink(database):
    """One open sink."""
    async with JournalStore(database).open() as sink:
        yield sink


@pytest.fixture
def observer(database):
    """A second connection that reads the tables."""
    with connect(database) as observer:
        yield observer


def make_snapshot(*positions, at=0, accounts=("U1234567",)):
    """Return the positions of the accounts so many seconds after the start."""
    return PositionsSnapshot(
        broker="ibkr",
        account_ids=accounts,
        positions=positions,
        observed_at=START + timedelta(seconds=at),
    )


def changed_of(snapshot, stored):
    """Return the rows that the snapshot appends to the stored ones."""
    return run_at_once(changed_positions(snapshot, stored))


def history(observer):
    """Return (account, contract, seconds, quantity) of all rows, oldest first."""
    cursor = observer.execute(
        "select account_id, contract_key, observed_at, quantity from positions"
        " order by observed_at, account_id, contract_key"
    )
    return [
        (account, contract, (at - START).total_seconds(), int(quantity))
        for account, contract, at, quantity in cursor
    ]


def gaps(observer):
    """Return (started_at, ended_at, reason) of all gaps."""
    return observer.execute(
        "select started_at, ended_at, reason from feed_gaps order by 1, 3"
    ).fetchall()


async def test_gaps_of_an_earlier_run_end_and_no_others(sink, observer):
    def gap(second, **changes):
        started_at = START + timedelta(seconds=second)
        return FeedGap(
            broker="ibkr", started_at=started_at, reason=GapReason.SILENCE, **changes
        )

    def at(second):
        return START + timedelta(seconds=second)

    for each in (
        gap(0, ended_at=at(1)),
        gap(2),
        gap(3, contract_key=SPY_CALL),
        msgspec.structs.replace(gap(4), broker="tastytrade"),
        gap(10),
        gap(10, contract_key=SPY_CALL),
        gap(30, contract_key=SPY_CALL),
    ):
        await sink.write(each)

    await sink.write(
        LeftoverGaps(
            broker="ibkr",
            own=((None, at(10)), (SPY_CALL, at(11))),
            ended_at=at(20),
        )
    )

    ends = [(start, end) for start, end, _ in gaps(observer)]
    assert ends == [
        (at(0), at(1)),
        (at(2), at(20)),
        (at(3), at(20)),
        (at(4), None),
        (at(10), None),
        (at(10), at(20)),
        # The clock of the earlier run was ahead.
        (at(30), at(30)),
    ]


async def test_a_first_snapshot_is_stored_with_all_its_values(sink, observer):
    call = make_position(
        -3,
        instrument_id="701",
        exchange="CBOE",
        underlying_id="756733",
        price_factor=Decimal("0.01"),
        description="SPY    DEC2026 600 C",
        problem="none",
        premium_multiplier=Decimal(10),
    )
    shares = make_position(
        "100.5",
        contract_key="SPY",
        kind="equity",
        multiplier=None,
        expiration=None,
        strike=None,
        option_type=None,
    )
    await sink.write(make_snapshot(call, shares))

    assert await sink._latest_positions(make_snapshot(at=1)) == [shares, call]
    cursor = observer.execute("select * from positions where kind = 'option'")
    [(*row, recorded_at, _transaction_id)] = cursor.fetchall()
    assert abs(datetime.now(UTC) - recorded_at) < timedelta(minutes=1)
    assert tuple(row) == (
        "ibkr",
        "U1234567",
        SPY_CALL,
        START,
        "option",
        Decimal(-3),
        Decimal(100),
        "USD",
        "SPY",
        call.expiration,
        Decimal(600),
        "call",
        "701",
        "CBOE",
        "756733",
        Decimal("0.01"),
        "SPY    DEC2026 600 C",
        "none",
        Decimal(10),
    )


async def test_only_changes_are_appended(sink, observer):
    call, put = make_position(1), make_position(2, contract_key=SPY_PUT)
    await sink.write(make_snapshot(call, put, at=0))
    await sink.write(make_snapshot(call, put, at=1))
    await sink.write(make_snapshot(make_position(5), put, at=2))

    assert history(observer) == [
        ("U1234567", SPY_CALL, 0, 1),
        ("U1234567", SPY_PUT, 0, 2),
        ("U1234567", SPY_CALL, 2, 5),
    ]


async def test_a_position_that_is_gone_is_closed_once(sink, observer):
    await sink.write(make_snapshot(make_position(1), at=0))
    await sink.write(make_snapshot(at=1))
    await sink.write(make_snapshot(at=2))
    await sink.write(make_snapshot(make_position(4), at=3))

    assert [row[2:] for row in history(observer)] == [(0, 1), (1, 0), (3, 4)]


async def test_accounts_that_the_snapshot_does_not_name_are_left_alone(sink, observer):
    other = make_position(7, account_id="U7654321")
    await sink.write(make_snapshot(other, accounts=("U7654321",)))
    await sink.write(make_snapshot(at=1))

    assert [row[2:] for row in history(observer)] == [(0, 7)]


async def test_accounts_that_stay_open_unread_are_told_once(sink, caplog):
    other = make_position(account_id="U7654321")
    await sink.write(make_snapshot(make_position(), other, accounts=BOTH))
    told = caplog.text

    for at, count in ((1, 3), (2, 4)):
        changed = make_position(quantity=Decimal(count))
        await sink.write(make_snapshot(changed, at=at))

    assert "account_not_read" not in told
    assert caplog.text.count("account_not_read") == 1
    assert (
        "journal.account_not_read broker=ibkr account=U7654321 positions=1"
        in caplog.text
    )


async def test_an_entry_that_is_offered_twice_is_stored_once(sink, observer):
    snapshot = make_snapshot(make_position(1), at=1)
    await sink.write(make_snapshot(make_position(9), at=0))
    for _ in range(2):
        await sink.write(snapshot)
    before = history(observer)
    await sink.write(make_snapshot(make_position(2), at=2))
    await sink.write(snapshot)

    assert before == [("U1234567", SPY_CALL, 0, 9), ("U1234567", SPY_CALL, 1, 1)]
    assert [row[2:] for row in history(observer)] == [(0, 9), (1, 1), (2, 2)]


async def test_an_old_snapshot_that_is_offered_late_rewrites_no_history(sink, observer):
    nothing_yet = make_snapshot(at=1)
    await sink.write(nothing_yet)
    await sink.write(make_snapshot(make_position(1), at=2))
    await sink.write(nothing_yet)

    assert [row[2:] for row in history(observer)] == [(2, 1)]


async def test_a_thousand_positions_fit_into_one_snapshot(sink, observer):
    positions = [make_position(1, contract_key=f"K{number}") for number in range(1000)]
    await sink.write(make_snapshot(*positions))

    assert len(history(observer)) == 1000


async def test_texts_are_parameters(sink, observer):
    nasty = "'; drop table positions; --"
    await sink.write(make_snapshot(make_position(contract_key=nasty)))

    assert history(observer)[0][1] == nasty


def test_only_the_snapshots_own_accounts_lose_positions():
    other = make_position(account_id="U7654321")
    of_other = make_position(account_id="U7654321", contract_key=SPY_PUT)

    assert changed_of(make_snapshot(other), [of_other]) == [(START, other)]


def test_a_position_missing_from_an_incomplete_account_is_closed_only_if_reported():
    mute, closed = make_position(-3), make_position(2, contract_key=SPY_PUT)
    of_other = make_position(1, account_id="U7654321")
    said = msgspec.structs.replace(closed, quantity=Decimal(0))
    snapshot = msgspec.structs.replace(
        make_snapshot(said, accounts=("U1234567", "U7654321")),
        incomplete_account_ids=("U1234567",),
    )

    assert changed_of(snapshot, [mute, closed, of_other]) == [
        (START, said),
        (START, msgspec.structs.replace(of_other, quantity=Decimal(0))),
    ]


def test_many_positions_are_compared_in_small_steps():
    compared = []

    class Counted(list):
        def __iter__(self):
            for each in super().__iter__():
                compared.append(each)
                yield each

    stored = Counted(make_position(contract_key=f"ibkr:{n}") for n in range(1_000))
    most = before = 0
    for _ in changed_positions(make_snapshot(), stored):
        most, before = max(most, len(compared) - before), len(compared)

    assert len(compared) == 1_000
    assert most <= 200


@pytest.mark.parametrize(
    ("instrument_id", "quantity", "is_closed"),
    [("7", 1, True), ("8", 1, False), (None, 1, False), ("7", None, False)],
)
def test_an_instrument_of_an_incomplete_account_has_one_key(
    instrument_id, quantity, is_closed
):
    stored = make_position(1, instrument_id=instrument_id)
    unknown = msgspec.structs.replace(
        make_position(1, contract_key="ibkr:7", kind="unknown", instrument_id="7"),
        quantity=None if quantity is None else Decimal(quantity),
    )
    snapshot = msgspec.structs.replace(
        make_snapshot(unknown), incomplete_account_ids=("U1234567",)
    )

    rows = changed_of(snapshot, [stored])

    closed = msgspec.structs.replace(stored, quantity=Decimal(0))
    assert rows == [(START, unknown), *[(START, closed)] * is_closed]


def test_a_closed_position_that_was_never_held_is_no_change():
    assert changed_of(make_snapshot(make_position(0)), []) == []


def test_other_words_for_a_closed_position_are_no_news():
    closed = make_position(0)
    again = make_position(0, currency=None)

    assert changed_of(make_snapshot(again), [closed]) == []


def contract_history(observer):
    """Return (seconds, quantity, multiplier, underlying) of all rows, oldest first."""
    cursor = observer.execute(
        "select observed_at, quantity, multiplier, underlying from positions"
        " order by observed_at"
    )
    return [((at - START).total_seconds(), *rest) for at, *rest in cursor]


@pytest.mark.parametrize(
    ("changes", "multiplier", "underlying"),
    [
        ({"multiplier": Decimal(150)}, 150, "SPY"),
        ({"underlying": "SPYX", "underlying_id": "5757"}, 100, "SPYX"),
        ({"underlying_id": "5757"}, 100, "SPY"),
        ({"underlying": "SPYX"}, 100, "SPYX"),
    ],
)
async def test_a_contract_that_has_become_another_one_is_closed_and_opened(
    sink, observer, changes, multiplier, underlying
):
    before = make_position(10, underlying_id="756733")
    after = msgspec.structs.replace(before, quantity=Decimal(11), **changes)
    await sink.write(make_snapshot(before, at=0))

    for _ in range(3):
        await sink.write(make_snapshot(after, at=1))

    assert contract_history(observer) == [
        (0, 10, 100, "SPY"),
        (1, 0, 100, "SPY"),
        (1.000001, 11, multiplier, underlying),
    ]
    await sink.write(make_snapshot(after, at=2))
    await sink.write(make_snapshot(at=3))
    assert contract_history(observer)[3:] == [(3, 0, multiplier, underlying)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"multiplier": None}, {}),
        ({"underlying_id": None, "underlying": "ES"}, {"underlying": "/ESM27"}),
        ({"underlying": "ibkr:756733"}, {"underlying": "/ESM27"}),
        ({}, {"multiplier": None}),
        ({}, {"description": "SPY    DEC2026 600 C"}),
    ],
)
async def test_more_knowledge_of_a_contract_does_not_close_it(
    sink, observer, before, after
):
    position = make_position(10, underlying_id="756733")
    await sink.write(make_snapshot(msgspec.structs.replace(position, **before), at=0))
    await sink.write(make_snapshot(msgspec.structs.replace(position, **after), at=1))

    assert [row[:2] for row in contract_history(observer)] == [(0, 10), (1, 10)]


async def test_a_position_without_a_quantity_is_stored_and_closed(sink, observer):
    unknown = make_position(
        0, contract_key="ibkr:55", kind="unknown", problem="its quantity is missing"
    )
    unknown = msgspec.structs.replace(unknown, quantity=None)
    for second in range(2):
        await sink.write(make_snapshot(unknown, at=second))
    await sink.write(make_snapshot(at=2))
    await sink.write(make_snapshot(at=3))

    rows = contract_history(observer)
    assert [row[:2] for row in rows] == [(0, None), (2, 0)]


async def test_a_gap_is_stored_at_its_start_and_ended_later(sink, observer):
    start = FeedGap(broker="ibkr", started_at=START, reason=GapReason.DISCONNECTED)
    await sink.write(start)
    assert gaps(observer) == [(START, None, "disconnected")]

    end = START + timedelta(seconds=5)
    ended = FeedGap(
        broker="ibkr", started_at=START, reason=GapReason.DISCONNECTED, ended_at=end
    )
    await sink.write(ended)
    await sink.write(ended)
    await sink.write(start)
    assert gaps(observer) == [(START, end, "disconnected")]


async def test_gaps_of_different_things_are_different(sink, observer):
    for contract_key in (None, SPY_CALL, SPY_PUT):
        await sink.write(
            FeedGap(
                broker="ibkr",
                started_at=START,
                reason=GapReason.NO_GREEKS,
                contract_key=contract_key,
            )
        )

    assert len(gaps(observer)) == 3


async def test_a_refused_gap_leaves_the_sink_in_use(sink, observer):
    with pytest.raises(StoreRejected) as caught:
        await sink.write(
            FeedGap(broker="Not A Word", started_at=START, reason=GapReason.SILENCE)
        )
    assert caught.value.sqlstate == "23514"

    await sink.write(FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE))
    assert len(gaps(observer)) == 1


@pytest.mark.parametrize("odd", ["", "\x00", "\ud800"])
async def test_a_refused_position_does_not_cost_the_others(sink, observer, odd):
    positions = [
        make_position(),
        make_position(contract_key=odd),
        make_position(contract_key=SPY_PUT),
    ]

    [refused] = await sink.write(make_snapshot(*positions))

    assert history(observer) == [
        ("U1234567", SPY_CALL, 0, -3),
        ("U1234567", SPY_PUT, 0, -3),
    ]
    assert refused.entry.positions == (positions[1],)
    assert refused.entry.account_ids == ()
    # Alone it is refused again, and closes nothing.
    assert len(await sink.write(refused.entry)) == 1
    assert len(history(observer)) == 2


async def test_whichever_store_comes_first_makes_the_tables(empty_database):
    async with JournalStore(empty_database).open() as sink:
        await sink.write(
            FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
        )

    with connect(empty_database) as observer:
        assert len(gaps(observer)) == 1


async def test_a_deaf_server_is_unavailable_in_time(proxy):
    async with JournalStore(proxy.config).open() as sink:
        sink._connection.cancel_limit_s = 0.1
        proxy.go_deaf()
        started_at = trio.current_time()

        with pytest.raises(StoreUnavailable):
            await sink.write(make_snapshot(make_position()))

        assert trio.current_time() - started_at < proxy.config.timeout_s + 1


async def test_an_open_sink_is_of_no_use_when_another_database_is_configured(database):
    store = JournalStore(database)
    async with store.open() as sink:
        store.reconfigure(replace(database, dbname="another"))

        with pytest.raises(StoreUnavailable, match="another database"):
            await sink.write(make_snapshot(make_position()))
