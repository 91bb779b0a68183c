"""The history of a contract over HTTP, from a real database."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import trio

from greeks_trio.api.routes import greek_history
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.postgres.reads.archived import read_archived
from greeks_trio.postgres.reads.greek_history import HistoryFilter, read_greek_history
from tests.database.risk_rows import CALL, MOMENT, PUT, hold, risk_database, tick
from tests.timeline import asking, reading

PATH = "/v1/greeks/history"
SPARKLINES = "/v1/greeks/sparklines"
START = MOMENT - timedelta(hours=1)
GAP = (
    "insert into feed_gaps (broker, account_id, contract_key, started_at, ended_at, reason)"
    " values (%s, %s, %s, %s, %s, %s)"
)


@pytest.fixture
def db(emptied_database):
    with risk_database(emptied_database) as connection:
        yield connection


def second(number):
    return START + timedelta(seconds=number)


@asynccontextmanager
async def client_of(database, now=MOMENT):
    async with asking(database) as timeline, trio.open_nursery() as nursery:
        router = greek_history.make_router(timeline, BROKERS, lambda: now)
        url = await nursery.start(run_http, HttpConfig(port=0), [router])
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def get(client, path, **params):
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_few_ticks_are_given_as_they_are_one_series_for_each_account(
    emptied_database, db
):
    """Impossible values are null, and the other account has a series of its own."""
    nothing = {"gamma": -1, "vega": math.nan, "price": math.inf}
    tick(db, event_time=second(-1), delta=0.1)
    tick(db, event_time=second(0), delta=0.2, price=9.5, quantity=-3)
    tick(db, event_time=second(90.25), delta=0.3, availability="frozen", **nothing)
    tick(db, event_time=second(3600), delta=0.4)
    tick(db, event_time=second(5), delta=0.7, broker="tastytrade", account_id="T1")
    tick(db, PUT, event_time=second(5))
    hold(db, 1, at=second(-60), account_id="U9")
    hold(db, 1, at=second(3601), account_id="U8")

    async with client_of(emptied_database) as client:
        answer = await get(client, PATH, contract_key=CALL.replace(" ", "").lower())
        of_one = await get(client, PATH, contract_key=CALL, account_id="T1")
        of_none = await get(
            client,
            PATH,
            contract_key=CALL,
            broker="ibkr",
            start="2020-01-01T00:00:00Z",
            end="2020-01-01T01:00:00Z",
        )

    assert answer["contract_key"] == CALL
    assert answer["start"] == "2025-11-14T14:30:00Z"
    names = [(each["broker"], each["account_id"]) for each in answer["series"]]
    assert names == [("ibkr", "U1"), ("ibkr", "U9"), ("tastytrade", "T1")]
    series, held, _ = answer["series"]
    assert (series["kind"], series["interval_s"], series["ticks"]) == ("ticks", None, 2)
    assert series["data"] == {
        "time": [START.timestamp(), START.timestamp() + 90.25],
        "price": [9.5, None],
        "delta": [0.2, 0.3],
        "gamma": [0.01, None],
        "theta": [-0.2, -0.2],
        "vega": [0.6, None],
        "rho": [0.1, 0.1],
        "implied_volatility": [0.183, 0.183],
        "underlying_price": [650.0, 650.0],
        "quantity": [-3, 7],
        "availability": ["realtime", "frozen"],
    }
    assert (held["kind"], held["data"]["time"]) == ("ticks", [])
    assert [each["data"]["delta"] for each in of_one["series"]] == [[0.7]]
    assert of_none["series"] == []


@pytest.mark.parametrize("most_rows", [1_000, 100])
async def test_many_ticks_become_intervals_with_their_last_tick_and_extremes(
    emptied_database, db, most_rows
):
    """Beyond the limit of rows there are no extremes, and the answer says so."""
    # Not at a whole minute: the first interval begins before the start.
    start = second(-10)
    moments = [n * 7.0 for n in range(-1, 200) if not 600 <= n * 7 < 780]
    for number in moments:
        tick(db, event_time=second(number), delta=math.sin(number), theta=None)
    # Of two ticks at one moment, the one that was received later is the last.
    tick(db, event_time=second(1393), received_at=second(1394), delta=0.5)
    deltas = {n: math.sin(n) for n in moments}

    wanted = HistoryFilter(
        contract_key=CALL,
        start=start,
        end=second(1400),
        points=25,
        measures=["delta", "theta"],
        max_rows=most_rows,
    )
    async with reading(emptied_database) as reader:
        content = await reader.read(lambda each: read_greek_history(wanted, each))
    [series] = httpx2.Response(200, content=content).json()["series"]

    data = series.pop("data")
    is_read = most_rows == 1_000
    assert series == {
        "broker": "ibkr",
        "account_id": "U1",
        "kind": "intervals" if is_read else "samples",
        "interval_s": 60,
        "ticks": len(moments) + 1 if is_read else None,
        "gaps": [],
        "gaps_left_out": 0,
    }
    first = START.timestamp() - 60
    assert data["time"] == [first + 60 * n for n in range(25)]
    inside = [
        [n for n in moments if -60 + 60 * number <= n < 60 * number]
        for number in range(25)
    ]
    last = [deltas[each[-1]] if each else None for each in inside]
    assert data["delta"] == pytest.approx([*last[:-1], 0.5])
    assert data["delta"][11] is None
    assert data["availability"][10:13] == ["realtime", None, None]
    assert data["theta"][0] is None
    assert data["tick_time"][1] == START.timestamp() + 56
    if not is_read:
        assert not data.keys() & {"ticks", "min_delta", "max_theta"}
        return
    assert data["ticks"] == [*map(len, inside[:-1]), len(inside[-1]) + 1]
    lowest = [min(map(deltas.get, each)) if each else None for each in inside]
    highest = [max(map(deltas.get, each)) if each else None for each in inside]
    assert data["min_delta"] == pytest.approx(lowest)
    assert data["max_delta"] == pytest.approx([*highest[:-1], max(0.5, highest[-1])])
    assert data["max_theta"][0] is None


async def test_gaps_of_contract_account_and_feed_are_merged(emptied_database, db):
    other = PUT
    for row in (
        ("ibkr", None, None, second(-600), second(-500), "disconnected"),
        ("ibkr", None, None, second(-100), second(10), "disconnected"),
        ("ibkr", "U1", CALL, second(8), second(20), "subscription silent"),
        ("ibkr", "U1", None, second(20), second(30), "silence"),
        ("ibkr", "U2", None, second(40), second(50), "silence"),
        ("ibkr", None, other, second(40), second(50), "silence"),
        ("tastytrade", None, None, second(40), second(50), "silence"),
        ("ibkr", None, CALL, second(100), None, "no tick yet"),
        ("ibkr", None, None, second(3600), None, "later"),
    ):
        db.execute(GAP, row)
    tick(db, event_time=second(1))

    async with client_of(emptied_database) as client:
        answer = await get(client, PATH, contract_key=CALL)

    [series] = answer["series"]
    at = START.timestamp()
    assert series["gaps"] == [
        [at, at + 30, "disconnected, silence, subscription silent"],
        [at + 100, None, "no tick yet"],
    ]


async def test_months_that_left_the_database_are_named(emptied_database, db):
    """A month that was loaded again, or is not dropped yet, is in the database."""
    row = (
        "insert into archived_months (month, broker, part, rows, checksum, dropped_at,"
        " loaded_at) values (%s, %s, 1, 1, 1, %s, %s)"
    )
    for month, broker, dropped_at, loaded_at in (
        ("2025-08-01", "ibkr", MOMENT, None),
        ("2025-09-01", "ibkr", MOMENT, None),
        ("2025-09-01", "tastytrade", MOMENT, None),
        ("2025-10-01", "ibkr", MOMENT, MOMENT),
        ("2025-11-01", "ibkr", None, None),
    ):
        db.execute(row, [month, broker, dropped_at, loaded_at])

    async with client_of(emptied_database) as client:
        year = await get(client, PATH, contract_key=CALL, start="2025-09-02T00:00:00Z")
        hour = await get(client, PATH, contract_key=CALL)

    september = [datetime(2025, month, 1, tzinfo=UTC).timestamp() for month in (9, 10)]
    assert year["archived"] == [september]
    assert hour["archived"] == []
    # As for a role that may not read the table.
    with db.transaction(force_rollback=True):
        db.execute("alter table archived_months rename to out_of_sight")
        assert read_archived(START, MOMENT, db) == "null"


async def test_more_gaps_than_a_page_can_shade_are_counted(emptied_database, db):
    tick(db, event_time=second(1))
    with db.cursor() as cursor:
        cursor.executemany(
            GAP,
            [
                (
                    "ibkr",
                    None,
                    None,
                    second(5 * n),
                    second(5 * n + 1 + n / 1000),
                    "silence",
                )
                for n in range(503)
            ],
        )

    async with client_of(emptied_database) as client:
        answer = await get(client, PATH, contract_key=CALL)

    [series] = answer["series"]
    assert (len(series["gaps"]), series["gaps_left_out"]) == (500, 3)
    assert series["gaps"][0][0] == START.timestamp() + 15


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "contract_key"),
        ({"contract_key": "no such"}, "contract_key"),
        ({"points": "9"}, "greater than or equal to 10"),
        ({"points": "2001"}, "less than or equal to 2000"),
        ({"measures": "delta,speed"}, "has 'speed'; it takes price, delta"),
        ({"start": "2025-11-14T16:00:00Z"}, "`start` lies in the future."),
        (
            {"start": "2025-11-14T14:00:00Z", "end": "2025-11-14T14:00:00Z"},
            "`start` has to lie before `end`.",
        ),
        ({"end": "0001-01-01T00:30:00Z"}, "before the year 1970"),
        ({"intervals": "3"}, "intervals"),
    ],
)
async def test_what_is_no_history_is_refused_in_words(emptied_database, asked, words):
    if asked and "contract_key" not in asked:
        asked = {"contract_key": CALL, **asked}
    async with client_of(emptied_database) as client:
        answer = await client.get(PATH, params=asked)

    assert answer.status_code == 422
    assert words in answer.text


async def test_points_of_too_many_accounts_are_refused(emptied_database, db):
    for number in range(11):
        hold(db, at=second(0), account_id=f"U{number}")

    async with client_of(emptied_database) as client:
        answer = await client.get(PATH, params={"contract_key": CALL, "points": 2000})

    assert answer.status_code == 422
    assert "11 accounts had the contract" in answer.json()["detail"]


async def test_a_sparkline_has_the_last_value_of_each_interval(emptied_database, db):
    for number in (-61, -1, 0, 59, 61, 185, 241, 263):
        tick(db, event_time=second(3600 - 240 + number), price=number + 100.0)
    tick(db, event_time=second(3610), price=math.nan, account_id="U2")
    named = [f"ibkr:U1:{CALL}", f"ibkr:U2:{CALL.replace(' ', '')}", f"ibkr:U3:{PUT}"]

    async with client_of(emptied_database, now=second(3620)) as client:
        answer = await get(
            client, SPARKLINES, series=",".join(named), minutes=5, points=5
        )
        deltas = await get(
            client, SPARKLINES, series=named[1], measure="delta", points=2
        )

    assert (answer["measure"], answer["interval_s"]) == ("price", 60)
    assert answer["start"] == "2025-11-14T15:26:00Z"
    names = [(each["account_id"], each["contract_key"]) for each in answer["series"]]
    assert names == [("U1", CALL), ("U2", CALL), ("U3", PUT)]
    assert [each["values"] for each in answer["series"]] == [
        [159.0, 161.0, None, 285.0, 341.0],
        [None] * 5,
        [None] * 5,
    ]
    assert [each["values"] for each in deltas["series"]] == [[None, 0.5]]


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("ibkr:U1", "each series is broker:account_id:contract_key"),
        (f"nobody:U1:{CALL}", "begins with no broker"),
        ("ibkr:U1:702", "contract_key that"),
        (",".join([f"ibkr:U1:{CALL}"] * 101), "has 101 series; at most 100"),
    ],
)
async def test_what_is_no_series_is_refused_in_words(emptied_database, series, words):
    async with client_of(emptied_database) as client:
        answer = await client.get(SPARKLINES, params={"series": series})

    assert answer.status_code == 422
    assert words in answer.text
