"""The lists of gaps and trades, and the record of a trade."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
import trio

from greeks_trio.api.lists.resources import GAPS, OUTAGES, TRADES
from greeks_trio.errors import StoreRejected
from greeks_trio.postgres.reads.trades import NewTrade
from tests.database.risk_rows import CALL, MOMENT, PUT, seconds
from tests.fix_postgres import connect
from tests.timeline import all_of, asking, listing_of


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with connect(database) as connection:
        yield connection


def gap(db, reason, start, end, *, broker="ibkr", account_id=None, contract_key=None):
    db.execute(
        "insert into feed_gaps values (%s, %s, %s, %s, %s, %s)",
        [
            broker,
            account_id,
            contract_key,
            MOMENT + seconds(start),
            None if end is None else MOMENT + seconds(end),
            reason,
        ],
    )


@pytest.fixture
def gaps(db):
    gap(db, "a", 0, 10)
    gap(db, "b", 5, None, broker="tastytrade")
    gap(db, "c", 20, 30, account_id="U1", contract_key=CALL)
    gap(db, "d", 20, 30, account_id="U1")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abdc"),
        ({"broker": "tastytrade"}, "b"),
        ({"account_id": "U1"}, "dc"),
        ({"contract_key": CALL}, "c"),
        ({"reason": "a"}, "a"),
        ({"is_open": True}, "b"),
        ({"is_open": False}, "adc"),
        ({"start": MOMENT + seconds(10)}, "bdc"),
        ({"start": MOMENT + seconds(9)}, "abdc"),
        ({"end": MOMENT + seconds(5)}, "a"),
        ({"start": MOMENT + seconds(11), "end": MOMENT + seconds(20)}, "b"),
    ],
)
@pytest.mark.parametrize("limit", [1, 500])
async def test_gaps_that_touch_the_time(database, gaps, filters, expected, limit):
    async with asking(database) as timeline:
        rows = await all_of(timeline, GAPS, limit, **filters)

    assert "".join(row["reason"] for row in rows) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "aedc"),
        ({"contract_key": CALL}, "aedc"),
        ({"contract_key": PUT}, "aed"),
        ({"account_id": "U2"}, "ae"),
        ({"broker": "tastytrade", "contract_key": CALL}, "e"),
    ],
)
async def test_an_outage_of_the_whole_feed_is_one_of_each_contract(
    database, db, filters, expected
):
    gap(db, "a", 0, 10)
    gap(db, "b", 2, 8, contract_key=CALL)  # within the one before
    gap(db, "c", 25, 40, account_id="U1", contract_key=CALL)
    gap(db, "d", 20, 30, account_id="U1")
    gap(db, "e", 5, None, broker="tastytrade")
    async with asking(database) as timeline:
        rows = await all_of(timeline, OUTAGES, 500, **filters)

    assert "".join(reason for row in rows for reason in row["reasons"]) == expected


def make_trade(**changes):
    values = {
        "id": uuid4(),
        "broker": "ibkr",
        "account_id": "U1",
        "symbol": "SPY",
        "action": "buy",
        "quantity": Decimal("1.5"),
    }
    return NewTrade(**(values | changes))


async def test_a_trade_is_kept_with_all_of_its_digits(database):
    trade = make_trade(
        price=Decimal("0.1000000000000001"),
        metadata='{"fee": 0.10000000000000000001}',
    )
    async with asking(database) as timeline:
        recorded = await timeline.record(trade, TRADES.columns)

    assert recorded.is_new
    assert b'"price":0.1000000000000001,' in recorded.item
    assert b"0.10000000000000000001" in recorded.item


@pytest.mark.parametrize(
    ("written", "in_csv"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum(a1)", "'@sum(a1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ('="a"', '\'="a"'),
        ("/ESZ6", "/ESZ6"),
        ("BRK/B", "BRK/B"),
        ("covered call, a=b\n=c", "covered call, a=b\n=c"),
        ("'=1", "'=1"),
    ],
)
async def test_no_text_of_a_trade_is_a_formula_to_a_spreadsheet(
    database, written, in_csv
):
    names = ("account_id", "symbol", "contract_key", "action", "strategy_tag")
    trade = make_trade(price=Decimal(-1), **dict.fromkeys(names, written))
    async with asking(database) as timeline:
        await timeline.record(trade, TRADES.columns)
        [item] = await all_of(timeline, TRADES)
        table = await exported(timeline, "csv")
        lines = await exported(timeline, "ndjson")

    [row] = csv.DictReader(io.StringIO(table.decode(), newline=""))
    assert [row[name] for name in names] == [in_csv] * 5
    assert (row["quantity"], row["price"]) == ("1.5", "-1")
    assert [item[name] for name in names] == [written] * 5
    assert msgspec.json.decode(lines) == item


@pytest.mark.parametrize("written", [CALL, CALL.replace(" ", ""), CALL.lower()])
async def test_a_key_that_another_program_wrote_is_found_in_any_spelling(
    database, written
):
    async with asking(database) as timeline:
        await timeline.record(make_trade(contract_key=written), TRADES.columns)
        await timeline.record(make_trade(contract_key="QQQ"), TRADES.columns)
        rows = await all_of(timeline, TRADES, contract_key=CALL)

    assert [row["contract_key"] for row in rows] == [written]


async def exported(timeline, form):
    """Return all trades as text."""
    async with timeline.export(listing_of(TRADES), form) as (head, export):
        return head + await export.next_lines()


async def test_the_same_trade_is_recorded_once(database, db):
    trade = make_trade(metadata='{"a": 1, "b": 2}')
    spelled_otherwise = msgspec.structs.replace(
        trade, quantity=Decimal("1.50"), metadata='{"b":2,"a":1}'
    )
    async with asking(database) as timeline:
        first = await timeline.record(trade, TRADES.columns)
        second = await timeline.record(spelled_otherwise, TRADES.columns)

    assert (first.is_new, second.is_new, second.is_same) == (True, False, True)
    assert second.item == first.item
    assert db.execute("select count(*) from trades").fetchone() == (1,)


@pytest.mark.parametrize(
    "change",
    [
        {"broker": "tastytrade"},
        {"account_id": "U2"},
        {"symbol": "QQQ"},
        {"contract_key": CALL},
        {"action": "sell"},
        {"quantity": Decimal("1.6")},
        {"price": Decimal(1)},
        {"strategy_tag": "x"},
        {"metadata": "{}"},
        {"created_at": MOMENT},
    ],
)
async def test_another_trade_of_the_same_id_is_not(database, db, change):
    trade = make_trade()
    async with asking(database) as timeline:
        await timeline.record(trade, TRADES.columns)
        other = await timeline.record(
            msgspec.structs.replace(trade, **change), TRADES.columns
        )

    assert (other.is_new, other.is_same) == (False, False)
    assert db.execute("select count(*) from trades").fetchone() == (1,)


async def test_two_at_once_of_one_id_are_one(database, db):
    trade = make_trade()
    recorded = []

    async def record(timeline):
        recorded.append(await timeline.record(trade, TRADES.columns))

    async with asking(database) as timeline:
        # Both wait for this insert, which is then rolled back.
        db.execute("begin")
        db.execute(
            "insert into trades (id, broker, account_id, symbol, action, quantity)"
            " values (%s, 'x', 'x', 'x', 'x', 1)",
            [trade.id],
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(record, timeline)
            nursery.start_soon(record, timeline)
            await _wait_for_locks(database, 2)
            db.execute("rollback")

    assert sorted(each.is_new for each in recorded) == [False, True]
    assert all(each.is_same for each in recorded)


async def _wait_for_locks(database, waiting):
    with connect(database) as observer:
        while True:
            [found] = observer.execute(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                " and datname = current_database()"
            ).fetchone()
            if found == waiting:
                return
            await trio.lowlevel.checkpoint()


async def test_metadata_that_jsonb_refuses_is_refused(database):
    async with asking(database) as timeline:
        with pytest.raises(StoreRejected):
            await timeline.record(
                make_trade(metadata='{"a": "\\u0000"}'), TRADES.columns
            )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"broker": "tastytrade"}, [1]),
        ({"account_id": "U2"}, [2]),
        ({"symbol": "QQQ"}, [1]),
        ({"contract_key": CALL}, [0]),
        ({"strategy_tag": "wheel"}, [2]),
        ({"start": MOMENT + seconds(1)}, [1, 2]),
        ({"end": MOMENT + seconds(1)}, [0]),
        ({"id": uuid4()}, []),
    ],
)
@pytest.mark.parametrize("limit", [1, 500])
async def test_each_filter_of_the_trades(database, filters, expected, limit):
    trades = [
        make_trade(contract_key=CALL),
        make_trade(broker="tastytrade", symbol="QQQ"),
        make_trade(account_id="U2", strategy_tag="wheel"),
    ]
    async with asking(database) as timeline:
        for number, trade in enumerate(trades):
            at = MOMENT + timedelta(seconds=number)
            await timeline.record(
                msgspec.structs.replace(trade, created_at=at), TRADES.columns
            )
        rows = await all_of(timeline, TRADES, limit, **filters)

    ids = [str(trade.id) for trade in trades]
    assert [ids.index(row["id"]) for row in rows] == expected
