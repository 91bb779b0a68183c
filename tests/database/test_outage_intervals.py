"""`outages`: one interval for gaps of one scope that overlap, without those inside a wider one."""

from __future__ import annotations

import psycopg
import pytest

from greeks_trio.api.lists.resources import OUTAGES
from greeks_trio.postgres.reads.listing import export_statement
from tests.database.risk_rows import CALL, MOMENT, PUT, rows, seconds
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


def gap(
    connection: psycopg.Connection,
    start: float,
    end: float | str | None,
    reason: str = "disconnected",
    *,
    broker: str = "ibkr",
    account_id: str | None = None,
    contract_key: str | None = None,
) -> None:
    """Insert a gap; times are seconds after the moment."""
    ended_at = MOMENT + seconds(end) if isinstance(end, int | float) else end
    connection.execute(
        "insert into feed_gaps values (%s, %s, %s, %s, %s, %s)",
        [broker, account_id, contract_key, MOMENT + seconds(start), ended_at, reason],
    )


def outages(connection):
    """Return scope, start, end and reasons, in seconds after the moment."""
    found = rows(
        connection,
        "select * from outages order by broker, account_id nulls first,"
        " contract_key nulls first, started_at",
    )
    return [
        (
            row["account_id"],
            row["contract_key"],
            (row["started_at"] - MOMENT).total_seconds(),
            None
            if row["ended_at"] is None
            else (row["ended_at"] - MOMENT).total_seconds(),
            row["reasons"],
        )
        for row in found
    ]


@pytest.mark.parametrize(
    ("gaps", "merged"),
    [
        ([(0, 5), (10, 15)], [(0, 5), (10, 15)]),
        ([(0, 10), (5, 15)], [(0, 15)]),
        ([(0, 10), (10, 15)], [(0, 15)]),
        ([(0, 20), (5, 15)], [(0, 20)]),
        ([(0, 20), (2, 3), (4, 25), (24, 30)], [(0, 30)]),
        ([(0, 20), (2, 3), (21, 25)], [(0, 20), (21, 25)]),
        ([(0, None), (5, 15)], [(0, None)]),
        ([(0, 10), (5, None)], [(0, None)]),
        ([(0, 10), (15, None)], [(0, 10), (15, None)]),
        ([(0, 0)], [(0, 0)]),
        ([(5, 5), (0, 10)], [(0, 10)]),
        ([(10, 5)], [(10, 10)]),
    ],
)
@pytest.mark.parametrize("scope", [{}, {"account_id": "U1"}, {"contract_key": CALL}])
def test_gaps_that_overlap_or_touch_are_one(db, gaps, merged, scope):
    for number, (start, end) in enumerate(gaps):
        gap(db, start, end, f"reason {number}", **scope)

    assert [(start, end) for _, _, start, end, _ in outages(db)] == merged


def test_an_outage_has_each_of_its_reasons_once(db):
    for start, end, reason in (
        (0, 10, "silent"),
        (5, 20, "disconnected"),
        (15, 30, "silent"),
        (40, 50, "killed"),
    ):
        gap(db, start, end, reason)

    assert [reasons for *_, reasons in outages(db)] == [
        ["disconnected", "silent"],
        ["killed"],
    ]


def test_different_scopes_are_not_merged(db):
    gap(db, 0, 10, account_id="U1")
    gap(db, 5, 15, account_id="U2")
    gap(db, 5, 15, account_id="U1", contract_key=CALL)
    gap(db, 5, 15, account_id="U1", contract_key=PUT)
    gap(db, 5, 15, broker="tastytrade")

    assert [(account, key, start) for account, key, start, *_ in outages(db)] == [
        ("U1", None, 0),
        ("U1", CALL, 5),
        ("U1", PUT, 5),
        ("U2", None, 5),
        (None, None, 5),
    ]


@pytest.mark.parametrize(
    "scope",
    [
        {"contract_key": CALL},
        {"account_id": "U1"},
        {"account_id": "U1", "contract_key": CALL},
    ],
)
@pytest.mark.parametrize(
    ("start", "end", "is_shown"),
    [
        (0, 10, False),
        (2, 8, False),
        (0, 12, True),
        (-2, 8, True),
        (-2, 12, True),
        (2, None, True),
        (20, 25, True),
        (32, None, False),
    ],
)
def test_a_gap_within_one_of_the_whole_feed_is_part_of_it(
    db, scope, start, end, is_shown
):
    gap(db, 0, 5, "disconnected")
    gap(db, 4, 10, "silent")
    gap(db, 30, None, "killed")
    gap(db, start, end, "no Greeks", **scope)

    shown = [
        (account, key)
        for account, key, *_ in outages(db)
        if (account, key) != (None, None)
    ]

    assert shown == (
        [(scope.get("account_id"), scope.get("contract_key"))] if is_shown else []
    )


@pytest.mark.parametrize("scope", [{"account_id": "U1"}, {"contract_key": CALL}])
def test_a_gap_within_one_of_its_account_or_contract_is_part_of_it(db, scope):
    gap(db, 0, 10, **scope)
    gap(db, 2, 8, account_id="U1", contract_key=CALL)
    gap(db, 2, 8, account_id="U2", contract_key=PUT)

    found = [(account, key) for account, key, *_ in outages(db)]

    wider = (scope.get("account_id"), scope.get("contract_key"))
    assert sorted(found, key=str) == sorted([wider, ("U2", PUT)], key=str)


def test_a_gap_of_one_broker_covers_none_of_another(db):
    gap(db, 0, 10)
    gap(db, 2, 8, broker="tastytrade", contract_key=CALL)

    assert len(outages(db)) == 2


@pytest.mark.parametrize("end", ["infinity", "-infinity"])
def test_no_stored_time_makes_the_view_fail(db, end):
    gap(db, 0, end)
    db.execute(
        "insert into feed_gaps values"
        " ('tastytrade', 'U9', null, '-infinity', '-infinity', 'silent'),"
        " ('tastytrade', 'U9', null, 'infinity', null, 'silent')"
    )

    assert db.execute("select count(*) from outages").fetchone() == (3,)


@pytest.mark.parametrize(
    ("filters", "starts"),
    [
        ({}, [0, 30, 60]),
        ({"broker": "ibkr"}, [0, 60]),
        ({"account_id": "U1"}, [0, 30, 60]),
        ({"account_id": "U2"}, [0, 30]),
        ({"contract_key": CALL, "broker": "ibkr"}, [0, 60]),
        ({"contract_key": PUT}, [0, 30]),
        ({"is_open": True}, [60]),
        ({"is_open": False}, [0, 30]),
        ({"start": MOMENT + seconds(12)}, [30, 60]),
        ({"end": MOMENT + seconds(30)}, [0]),
    ],
)
@pytest.mark.parametrize("limit", [1, 500])
async def test_each_filter_of_the_list(database, db, filters, starts, limit):
    gap(db, 0, 8)
    gap(db, 5, 12, "silent")
    gap(db, 30, 40, broker="tastytrade")
    gap(db, 60, None, account_id="U1", contract_key=CALL)

    async with asking(database) as timeline:
        found = await all_of(timeline, OUTAGES, limit, **filters)

    texts = [f"{MOMENT + seconds(start):%Y-%m-%dT%H:%M:%S.000000Z}" for start in starts]
    assert [row["started_at"] for row in found] == texts
    if 0 in starts:
        assert found[0]["reasons"] == ["disconnected", "silent"]


def test_an_export_has_the_reasons_in_one_field(db):
    gap(db, 0, 8)
    gap(db, 5, 12, "silent")
    query, params = export_statement(listing_of(OUTAGES), "csv", None)

    [(line,)] = db.execute(query, params).fetchall()

    assert line.endswith(',"disconnected, silent"')
