"""Account values in the real table, and the views on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from greeks_trio.errors import StoreRejected
from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.postgres.journal_store import JournalStore
from tests.factories import START
from tests.fix_postgres import connect


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
async def sink(database):
    async with JournalStore(database).open() as sink:
        yield sink


@pytest.fixture
def observer(database):
    with connect(database) as observer:
        yield observer


def make_row(account_id="U1", *, at=0.0, **changes):
    values = {
        "broker": "ibkr",
        "account_id": account_id,
        "observed_at": START + timedelta(seconds=at),
        "currency": "USD",
        "net_liquidation": Decimal("32520.734"),
        "maintenance_margin": Decimal("9692.211"),
    }
    return AccountValues(**(values | changes))


def make_snapshot(*rows):
    return AccountValuesSnapshot(broker="ibkr", rows=rows)


def asof(observer, seconds, stale_after_s=300):
    """Return (account, net liquidation, margin use, reason, age, staleness)."""
    return observer.execute(
        "select account_id, net_liquidation, round(margin_use::numeric, 4),"
        " margin_use_missing, age_s, is_stale from account_values_asof(%s, %s) order by 1",
        [START + timedelta(seconds=seconds), stale_after_s],
    ).fetchall()


async def test_a_reading_is_stored_once_with_all_its_digits(sink, observer):
    row = make_row(
        event_time=START - timedelta(seconds=5),
        cash=Decimal("-1500.10"),
        buying_power=Decimal("91314.12"),
        derivative_buying_power=Decimal("0.000001"),
        initial_margin=Decimal(12115),
        excess_liquidity=Decimal("22828.523"),
        problem="cash: 'several' is no amount",
    )
    later = make_row(at=60)
    assert await sink.write(make_snapshot(row, make_row("U2"))) == []
    # Sent again after a lost answer, and as part of a larger entry.
    assert await sink.write(make_snapshot(row, make_row("U2"), later)) == []

    stored = observer.execute(
        "select broker, account_id, observed_at, event_time, currency, net_liquidation,"
        " cash, buying_power, derivative_buying_power, initial_margin,"
        " maintenance_margin, excess_liquidity, problem from account_values"
        " order by account_id, observed_at"
    ).fetchall()
    assert stored == [
        msgspec.structs.astuple(each) for each in (row, later, make_row("U2"))
    ]


async def test_a_refused_row_takes_no_other_along(sink, observer):
    odd = make_row("")
    [part] = await sink.write(make_snapshot(odd, make_row()))

    assert part.entry == make_snapshot(odd)
    assert observer.execute("select account_id from account_values").fetchall() == [
        ("U1",)
    ]
    with pytest.raises(StoreRejected, match="account_values_key_check"):
        await sink.write(make_snapshot(odd))
    # The sink remains in use.
    await sink.write(make_snapshot(make_row("U2")))


async def test_the_values_of_a_moment(sink, observer):
    first, second = make_row(), make_row(at=60, net_liquidation=Decimal(20_000))
    await sink.write(
        make_snapshot(
            *(first, second),
            make_row("U2", net_liquidation=None),
            make_row("U3", maintenance_margin=None),
            make_row("U4", net_liquidation=Decimal("-0.5")),
        )
    )
    # Other programs may write what cannot be.
    observer.execute(
        "insert into account_values (broker, account_id, observed_at, net_liquidation,"
        " maintenance_margin) values ('ibkr', 'U5', %s, 'NaN', 1e300)",
        [START],
    )

    assert asof(observer, -1) == []
    rows = asof(observer, 59.5)
    assert rows[0] == ("U1", Decimal("32520.734"), Decimal("0.2980"), None, 59.5, False)
    assert [(account, use, why) for account, _, use, why, *_ in rows[1:]] == [
        ("U2", None, "no net liquidation"),
        ("U3", None, "no maintenance margin"),
        ("U4", None, "net liquidation not positive"),
        ("U5", None, "no net liquidation"),
    ]
    assert asof(observer, 61)[0][1:3] == (20_000, Decimal("0.4846"))
    assert [stale for *_, stale in asof(observer, 100, 50)] == [False, *[True] * 4]
    # An account without values for seven days has left.
    assert len(asof(observer, 7 * 86_400 + 30)) == 1
    assert asof(observer, 7 * 86_400 + 61) == []


async def test_the_newest_values(sink, observer):
    now = datetime.now(UTC)
    ahead = make_row("U9", observed_at=now + timedelta(hours=1))
    await sink.write(make_snapshot(make_row("U1", observed_at=now), ahead))

    rows = observer.execute(
        "select account_id, net_liquidation, age_s < 60, is_stale"
        " from latest_account_values order by 1"
    ).fetchall()
    # A row from the future counts from the moment when the database took it.
    assert rows == [(each, Decimal("32520.734"), True, False) for each in ("U1", "U9")]


def test_one_account_is_found_by_the_index(observer):
    with observer.cursor() as cursor:
        cursor.execute(
            "insert into account_values (broker, account_id, observed_at, recorded_at)"
            " select 'ibkr', 'U' || n %% 3, t, t from (select n, %s::timestamptz - n"
            " * interval '20 seconds' as t from generate_series(1, 30000) n) x",
            [START],
        )
        cursor.execute("analyze account_values")
        cursor.execute(
            "explain (analyze, buffers, timing off, summary off, format json)"
            " select * from account_values_asof(%s)",
            [START],
        )
        [(plan,)] = cursor.fetchall()
    root = plan[0]["Plan"]
    assert root["Actual Rows"] == 3
    assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 60
