"""The list of ticks: its filters, its order, and the indexes that it uses."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta, timezone
from itertools import count

import msgspec
import pytest
from psycopg import sql

from greeks_trio.api.lists.resources import SNAPSHOTS
from greeks_trio.postgres.reads.listing import export_statement, json_statement
from tests.database.risk_rows import CALL, MOMENT, PUT, risk_database, seconds, tick
from tests.fix_postgres import fresh_database
from tests.timeline import all_of, asking, listing_of

SPX = "SPXW  251219P06000000"


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


@pytest.fixture
def four_ticks(db):
    """Ticks 0 to 3, a second apart, each different from the others; see ``id``."""
    tick(db, CALL, event_time=MOMENT)
    tick(db, PUT, event_time=MOMENT + seconds(1), option_type="put", account_id="U2")
    tick(db, CALL, event_time=MOMENT + seconds(2), broker="tastytrade")
    tick(
        db,
        SPX,
        event_time=MOMENT + seconds(3),
        underlying="SPX",
        expiration="2026-01-16",
        option_type="put",
    )


def numbers(rows):
    return [row["id"] - 1 for row in rows]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"broker": "tastytrade"}, [2]),
        ({"account_id": "U2"}, [1]),
        ({"contract_key": CALL}, [0, 2]),
        ({"contract_key": CALL, "broker": "ibkr"}, [0]),
        ({"contract_key": CALL, "account_id": "U1"}, [0, 2]),
        ({"contract_key": CALL, "broker": "ibkr", "account_id": "U1"}, [0]),
        ({"underlying": "SPX"}, [3]),
        ({"option_type": "put"}, [1, 3]),
        ({"expiration_from": date(2025, 12, 20)}, [3]),
        ({"expiration_to": date(2025, 12, 19)}, [0, 1, 2]),
        ({"start": MOMENT + seconds(1)}, [1, 2, 3]),
        ({"end": MOMENT + seconds(1)}, [0]),
        ({"start": MOMENT + seconds(1), "end": MOMENT + seconds(2)}, [1]),
        ({"start": MOMENT + seconds(9)}, []),
        ({"contract_key": CALL, "start": MOMENT + seconds(1)}, [2]),
        ({"contract_key": CALL, "underlying": "SPX"}, []),
    ],
)
async def test_each_filter_selects_its_rows(database, four_ticks, filters, expected):
    async with asking(database) as timeline:
        rows = await all_of(timeline, SNAPSHOTS, **filters)

    assert numbers(rows) == expected


@pytest.mark.parametrize(
    "text",
    ["' or ''='", "U1'; drop table trades; --", "%s", "%", "\\", '"', "$1", "{0}"],
)
async def test_the_text_of_a_filter_is_always_a_value(database, four_ticks, text):
    async with asking(database) as timeline:
        for name in ("account_id", "contract_key", "underlying"):
            rows = await all_of(timeline, SNAPSHOTS, **{name: text})

            assert rows == []


async def test_a_moment_is_the_same_in_every_zone(database, four_ticks):
    new_york = timezone(timedelta(hours=-5))
    start = (MOMENT + seconds(1)).astimezone(new_york)
    async with asking(database) as timeline:
        rows = await all_of(timeline, SNAPSHOTS, start=start)

    assert numbers(rows) == [1, 2, 3]
    assert rows[0]["event_time"] == "2025-11-14T15:30:01.000000Z"


async def test_rows_have_the_values_of_the_table(database, db):
    tick(
        db,
        strike="600.125",
        delta=0.1 + 0.2,
        gamma=None,
        event_time=MOMENT + timedelta(microseconds=1),
        source_payload='{"text": "a, \\"b\\"\\nc", "number": 1.10}',
    )
    async with asking(database) as timeline:
        listing = listing_of(SNAPSHOTS, include="payload")
        page = await timeline.page(listing, None, 1)

    assert b'"strike":600.125,' in page.items
    [row] = msgspec.json.decode(page.items)
    assert row["event_time"] == "2025-11-14T15:30:00.000001Z"
    assert row["delta"] == 0.1 + 0.2
    assert row["gamma"] is None
    assert row["expiration"] == "2025-12-19"
    assert row["source_payload"] == {"text": 'a, "b"\nc', "number": 1.1}


async def test_csv_and_json_say_the_same(database, four_ticks, db):
    tick(db, gamma=None, source_payload='{"text": "a, \\"b\\"\\nc"}')
    async with asking(database) as timeline:
        expected = await all_of(timeline, SNAPSHOTS, include="payload")
        listing = listing_of(SNAPSHOTS, include="payload")
        exporting = timeline.export(listing, "csv")
        async with exporting as (head, export):
            text = head
            while chunk := await export.next_lines():
                text += chunk

    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert [row["gamma"] for row in rows] == ["", "0.01", "0.01", "0.01", "0.01"]
    for row, same in zip(rows, expected, strict=True):
        assert row["event_time"] == same["event_time"]
        assert float(row["strike"]) == same["strike"]
        assert row["contract_key"] == same["contract_key"]
        assert json.loads(row["source_payload"]) == same["source_payload"]


async def test_no_text_of_a_broker_is_a_formula_to_a_spreadsheet(database, db):
    tick(db, account_id="=1+1", underlying="@sum(a1)")
    async with asking(database) as timeline:
        exporting = timeline.export(listing_of(SNAPSHOTS), "csv")
        async with exporting as (head, export):
            text = head + await export.next_lines()

    [row] = csv.DictReader(io.StringIO(text.decode(), newline=""))
    assert (row["account_id"], row["underlying"]) == ("'=1+1", "'@sum(a1)")
    assert row["theta"].startswith("-")


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"contract_key": CALL},
        {"contract_key": CALL, "broker": "ibkr", "account_id": "U1"},
        {"start": MOMENT, "underlying": "SPY"},
    ],
)
async def test_a_walk_has_each_earlier_row_once_despite_inserts(
    database, db, filters, limit
):
    """Rows are inserted before, at and after the position of the walk."""
    for number in range(7):
        # Some ticks have the same time, so that the other keys count.
        moment = MOMENT + seconds(number // 3)
        tick(db, event_time=moment, received_at=moment + seconds(number % 2))
        tick(db, event_time=moment, account_id="U2", broker="tastytrade")
    async with asking(database) as timeline:
        earlier = await all_of(timeline, SNAPSHOTS, **filters)
        listing, found, position = listing_of(SNAPSHOTS, **filters), [], None
        for step in count():
            page = await timeline.page(listing, position, limit)
            found += msgspec.json.decode(page.items)
            position = page.position
            if position is None:
                break
            at = datetime.fromisoformat(str(position[0]))
            tick(db, event_time=MOMENT - seconds(step))
            if step < 5:  # or a walk of single rows would never end
                tick(db, event_time=at)
                tick(db, event_time=at + seconds(1))

    ids = [row["id"] for row in found]
    assert len(ids) == len(set(ids))
    assert [row for row in found if row in earlier] == earlier
    order = [(row["event_time"], row["received_at"], row["id"]) for row in found]
    assert order == sorted(order)


async def test_the_last_page_says_that_it_is_the_last(database, four_ticks):
    async with asking(database) as timeline:
        listing = listing_of(SNAPSHOTS)
        first = await timeline.page(listing, None, 3)
        exact = await timeline.page(listing, None, 4)
        last = await timeline.page(listing, first.position, 3)

    assert first.position is not None
    assert exact.position is None
    assert last.position is None
    assert len(msgspec.json.decode(last.items)) == 1


async def test_a_position_in_another_list_is_refused(database):
    async with asking(database) as timeline:
        with pytest.raises(ValueError, match="position"):
            await timeline.page(listing_of(SNAPSHOTS), ["a"], 1)


@pytest.fixture(scope="module")
def many_ticks(postgres_server, database_template):
    """Sixty thousand ticks of a hundred contracts in two accounts, and statistics."""
    with (
        fresh_database(postgres_server, database_template.dbname) as config,
        risk_database(config) as db,
    ):
        insert_many(db)
        yield db


def insert_many(db):
    db.execute(
        "insert into greek_snapshots (event_time, received_at, broker, account_id,"
        " underlying, contract_key, expiration, option_type, delta, availability,"
        " source_payload, fingerprint)"
        " select %s + i * interval '1 s', now(), 'ibkr', 'U' || i %% 2, 'SPY',"
        " 'C' || i %% 100, '2025-12-19', 'call', 0.5, 'realtime', '{}', i"
        " from generate_series(1, 60000) i",
        [MOMENT],
    )
    db.execute("analyze greek_snapshots")


def plan_of(db, query, params):
    explain = sql.SQL("explain (format text) {}").format(query)
    return "\n".join(line for (line,) in db.execute(explain, params))


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"contract_key": "C7"},
        {"contract_key": "C7", "start": MOMENT + seconds(30_000)},
        {"contract_key": "C7", "broker": "ibkr", "account_id": "U1"},
        {"start": MOMENT + seconds(30_000), "end": MOMENT + seconds(31_000)},
        {"underlying": "SPY", "start": MOMENT + seconds(30_000)},
        {"account_id": "U1", "option_type": "call"},
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_page_never_reads_the_whole_table(many_ticks, filters, is_first):
    listing = listing_of(SNAPSHOTS, **filters)
    position = ["2025-11-14T20:00:00.000000Z", "2025-11-14T20:00:00.000000Z", 17_000]
    rest = listing.after(None if is_first else position)
    query, params = json_statement(rest, 501)

    plan = plan_of(many_ticks, query, params)

    assert "Seq Scan" not in plan
    assert "Index" in plan


def test_a_contract_of_all_accounts_is_found_by_the_primary_key(many_ticks):
    listing = listing_of(SNAPSHOTS, contract_key="C7")
    query, params = json_statement(listing, 501)

    plan = plan_of(many_ticks, query, params)

    assert "(contract_key = 'C7'::text)" in plan
    assert "event_time_idx" not in plan


def test_an_export_along_time_is_not_sorted_first(many_ticks):
    start = MOMENT + seconds(30_000)
    listing = listing_of(SNAPSHOTS, start=start)
    query, params = export_statement(listing, "csv", None)

    plan = plan_of(many_ticks, query, params)

    assert "Incremental Sort" in plan
    assert "Seq Scan" not in plan


async def test_a_page_of_large_rows_ends_early_and_the_walk_is_complete(database, db):
    large = json.dumps({"text": "x" * 1_500_000})
    for number in range(8):
        tick(db, event_time=MOMENT + seconds(number), source_payload=large)

    async with asking(database) as timeline:
        listing = listing_of(SNAPSHOTS, include="payload")
        first = await timeline.page(listing, None, 500)
        rows = await all_of(timeline, SNAPSHOTS, include="payload")

    assert len(msgspec.json.decode(first.items)) == 3
    assert numbers(rows) == list(range(8))
