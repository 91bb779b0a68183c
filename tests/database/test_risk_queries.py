"""The risk views as lists, now and at a past moment."""

from __future__ import annotations

from datetime import date

import pytest

from greeks_trio.api.lists.resources import (
    AS_OF,
    DIVERGENCE,
    LATEST,
    PORTFOLIO,
    POSITIONS,
)
from greeks_trio.postgres.reads.listing import csv_header
from tests.database.risk_rows import (
    CALL,
    EARLIER,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    seconds,
    tick,
)
from tests.timeline import all_of, asking

MUCH_EARLIER = EARLIER - seconds(60)


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


@pytest.fixture
def held(db):
    """A call and a put with ticks, shares, and in another account a call without."""
    hold(db, -3)
    hold(db, 2, PUT, option_type="put")
    hold(db, 1, account_id="U2", broker="tastytrade")
    hold_shares(db, 100)
    tick(db)
    tick(db, PUT, option_type="put", availability="delayed")


@pytest.mark.parametrize(
    ("resource", "relation"),
    [
        (LATEST, "latest_greeks"),
        (AS_OF, "latest_greeks"),
        (PORTFOLIO, "portfolio_greeks"),
        (DIVERGENCE, "broker_divergence"),
    ],
)
def test_a_list_has_the_columns_of_its_view(db, resource, relation):
    columns = db.execute(f"select * from {relation} limit 0").description

    expected = ",".join(column.name for column in columns)
    assert csv_header(resource.columns).decode() == f"{expected}\n"


def keys(rows):
    return [(row["account_id"], row["contract_key"]) for row in rows]


async def test_the_latest_also_has_contracts_without_a_tick(database, held):
    async with asking(database) as timeline:
        rows = await all_of(timeline, AS_OF, at=MOMENT)

    assert keys(rows) == [("U1", CALL), ("U1", PUT), ("U2", CALL)]
    assert [row["delta"] for row in rows] == [0.5, 0.5, None]
    assert [row["age_s"] for row in rows] == [10, 10, None]
    assert [row["is_stale"] for row in rows] == [False, True, True]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"broker": "tastytrade"}, [("U2", CALL)]),
        ({"account_id": "U1"}, [("U1", CALL), ("U1", PUT)]),
        ({"contract_key": CALL}, [("U1", CALL), ("U2", CALL)]),
        ({"underlying": "QQQ"}, []),
        ({"option_type": "put"}, [("U1", PUT)]),
        ({"expiration_from": date(2025, 12, 20)}, []),
        ({"is_stale": False}, [("U1", CALL)]),
        ({"is_stale": True}, [("U1", PUT), ("U2", CALL)]),
    ],
)
async def test_each_filter_of_the_latest(database, held, filters, expected):
    async with asking(database) as timeline:
        rows = await all_of(timeline, AS_OF, at=MOMENT, **filters)

    assert keys(rows) == expected


async def test_before_anything_was_held_there_is_nothing(database, held):
    async with asking(database) as timeline:
        assert await all_of(timeline, AS_OF, at=MUCH_EARLIER) == []
        assert await all_of(timeline, PORTFOLIO, at=MUCH_EARLIER) == []
        assert await all_of(timeline, POSITIONS, at=MUCH_EARLIER) == []


async def test_without_a_moment_it_is_the_present_one(database, held):
    """The options have expired since; the shares have not."""
    async with asking(database) as timeline:
        assert await all_of(timeline, LATEST) == []
        rows = await all_of(timeline, POSITIONS)

    assert keys(rows) == [("U1", "SPY")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [("U1", "SPY"), ("U1", CALL), ("U1", PUT), ("U2", CALL)]),
        ({"kind": "equity"}, [("U1", "SPY")]),
        ({"broker": "tastytrade"}, [("U2", CALL)]),
        ({"account_id": "U2"}, [("U2", CALL)]),
        ({"contract_key": "SPY"}, [("U1", "SPY")]),
    ],
)
async def test_each_filter_of_the_positions(database, held, filters, expected):
    async with asking(database) as timeline:
        rows = await all_of(timeline, POSITIONS, at=MOMENT, **filters)

    assert keys(rows) == expected


@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_sums_without_an_expiration_have_their_page_too(database, held, limit):
    """In the order of a list a null comes after every day."""
    async with asking(database) as timeline:
        rows = await all_of(timeline, PORTFOLIO, limit, at=MOMENT)

    assert [(row["account_id"], row["expiration"]) for row in rows] == [
        ("U1", "2025-12-19"),
        ("U1", None),
        ("U2", "2025-12-19"),
    ]
    assert rows[0]["option_delta"] == 100 * (-3 * 0.5 + 2 * 0.5)
    assert rows[1]["share_future_delta"] == 100
    assert rows[2]["missing_tick"] == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"broker": "ibkr"}, 2),
        ({"account_id": "U2"}, 1),
        ({"currency": "EUR"}, 0),
        ({"underlying": "SPY"}, 3),
        ({"expiration_to": date(2025, 12, 19)}, 2),
    ],
)
async def test_each_filter_of_the_sums(database, held, filters, expected):
    async with asking(database) as timeline:
        rows = await all_of(timeline, PORTFOLIO, at=MOMENT, **filters)

    assert len(rows) == expected


async def test_the_age_from_which_a_tick_is_stale_is_the_service_s(database, held):
    async with asking(database) as timeline:
        timeline.stale_after_s = 5.0
        rows = await all_of(timeline, AS_OF, at=MOMENT)

    assert [row["is_stale"] for row in rows] == [True, True, True]


async def test_the_brokers_side_by_side(database, db):
    expires = {"expiration": date.max}
    for broker, delta in (("ibkr", 0.5), ("tastytrade", 0.25)):
        hold(db, broker=broker, **expires)
        tick(db, broker=broker, delta=delta, **expires)
    async with asking(database) as timeline:
        [row] = await all_of(timeline, DIVERGENCE, contract_key=CALL)
        others = await all_of(timeline, DIVERGENCE, underlying="QQQ")

    assert row["delta_difference"] == 0.25
    assert row["ibkr_event_time"] == "2025-11-14T15:29:50.000000Z"
    assert others == []
