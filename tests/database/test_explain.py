"""The paths of positions, as PostgreSQL writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from greeks_trio.postgres.reads.paths import (
    MAX_CONTRACTS,
    PathsFilter,
    TooManyContracts,
    read_paths,
)
from greeks_trio.risk.explain_records import Outage, Paths, Quantity, Trade
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    tick,
)
from tests.timeline import reading

START, END = MOMENT - timedelta(hours=1), MOMENT
GAP = "insert into feed_gaps values ('ibkr', %s, null, %s, %s, %s)"
TRADE = (
    "insert into trades (broker, account_id, symbol, contract_key, action, quantity, price,"
    " created_at, strategy_tag) values ('ibkr', 'U1', 'SPY', %s, 'buy', 1, 9.5, %s, %s)"
)


@pytest.fixture
def db(emptied_database):
    with risk_database(emptied_database) as connection:
        yield connection


def minute(number):
    return START + timedelta(minutes=number)


def moments(seconds):
    return [datetime.fromtimestamp(each, UTC) for each in seconds]


async def paths_of(database, **options):
    wanted = PathsFilter(start=START, end=END, **options)
    async with reading(database) as reader:
        content = await reader.read(lambda connection: read_paths(wanted, connection))
    return msgspec.json.decode(content, type=Paths)


async def test_a_path_has_the_last_tick_with_a_price_of_each_step(emptied_database, db):
    hold(db, 2, at=minute(-600))
    tick(db, event_time=minute(-9000), price=8.0)
    tick(db, event_time=minute(-5), price=9.0, gamma=-1, underlying_price=None)
    # Another account, and times and prices that are impossible.
    tick(db, event_time=minute(30), price=1.0, account_id="U2")
    tick(db, event_time=minute(40), price=float("nan"))
    tick(db, event_time=minute(50), price=-3.0)
    for number in (1, 2, 14.9, 15.1, 60, 61):
        tick(db, event_time=minute(number), price=10.0 + number, underlying_price=600)

    whole = await paths_of(emptied_database, max_looks=4)

    assert whole.step_s == 900.0
    [path] = whole.contracts
    times = [minute(number) for number in (-5, 14.9, 15.1, 60)]
    assert moments(path.ticks.at) == times
    assert path.ticks.price == [9.0, 24.9, 25.1, 70.0]
    assert path.ticks.gamma == [None, 0.01, 0.01, 0.01]
    assert path.ticks.underlying_price == [None, 600.0, 600.0, 600.0]
    assert (path.underlying, path.strike, path.option_type) == ("SPY", 600.0, "call")
    # One second is the shortest step.
    assert (await paths_of(emptied_database)).step_s == pytest.approx(3600 / 1500)


async def test_paths_have_quantities_trades_and_outages(emptied_database, db):
    hold(db, 5, at=minute(-600))
    hold(db, 2, at=minute(-500), premium_multiplier=150)
    hold(db, 3, at=minute(20), price_factor=0.01)
    hold(db, 0, at=minute(59))
    hold(db, 9, at=minute(61))
    # Closed before the start, opened inside, and never open between the two.
    hold(db, 1, PUT, at=minute(-600))
    hold(db, 0, PUT, at=minute(-1))
    hold(db, 0, PUT, at=minute(5))
    # Its last tick is more than a week old.
    hold(db, 1, "OLD", at=minute(-20_000))
    tick(db, "OLD", event_time=minute(-12_000), price=1.0)
    hold(db, 1, "NEW", at=minute(30), account_id="U2", currency=None)
    hold(db, None, "ODD", at=minute(-30), kind="unknown", expiration=None)
    hold_shares(db, 100, at=minute(-600))
    for number, tag in ((-61, "condor"), (-59, "fly"), (30, None), (61, "later")):
        db.execute(TRADE, [CALL, minute(number), tag])
    # The table of tags comes first, also with a null.
    tag = "insert into position_tags (broker, account_id, contract_key, strategy_tag) values"
    db.execute(f"{tag} ('ibkr', 'U1', 'SPY', null), ('ibkr', 'U2', 'NEW', 'new')")
    db.execute(TRADE, ["SPY", minute(-30), "of the trade"])
    for first, last, account in ((-9, -8, None), (-2, 3, None), (50, None, "U1")):
        ended_at = None if last is None else minute(last)
        db.execute(GAP, [account, minute(first), ended_at, "disconnected"])
    db.execute(GAP, ["U2", minute(5), minute(6), "silence"])

    whole = await paths_of(emptied_database)

    paths = {path.contract_key: path for path in whole.contracts}
    assert sorted(paths) == ["NEW", "ODD", "OLD", "SPY", CALL]
    call = paths[CALL]
    assert call.quantities == [
        Quantity(minute(-500).timestamp(), 2.0, 150.0, 150.0),
        Quantity(minute(20).timestamp(), 3.0, 1.0, 100.0),
        Quantity(minute(59).timestamp(), 0.0, 100.0, 100.0),
    ]
    assert call.trades == [
        Trade(minute(number).timestamp(), "buy", 1.0, 9.5) for number in (-59, 30)
    ]
    assert (call.seen_from, call.strategy_tag) == (None, "fly")
    assert paths["NEW"].seen_from == minute(30)
    assert (paths["NEW"].currency, paths["NEW"].is_currency_unnamed) == ("USD", True)
    assert (call.currency, call.is_currency_unnamed) == ("USD", False)
    assert (paths["SPY"].strategy_tag, paths["NEW"].strategy_tag) == (None, "new")
    assert paths["OLD"].ticks.at == []
    buckets = [paths[key].expiration_bucket for key in (CALL, "SPY")]
    assert buckets == ["31-90", None]
    assert paths["SPY"].quantities == [
        Quantity(minute(-600).timestamp(), 100.0, 1.0, 1.0)
    ]
    assert paths["ODD"].quantities[0].quantity is None
    assert whole.outages == [
        Outage("ibkr", None, None, minute(-2), minute(3), ["disconnected"]),
        Outage("ibkr", "U2", None, minute(5), minute(6), ["silence"]),
        Outage("ibkr", "U1", None, minute(50), None, ["disconnected"]),
    ]

    of_u2 = await paths_of(emptied_database, account_id="U2")
    assert [path.contract_key for path in of_u2.contracts] == ["NEW"]
    assert len(of_u2.outages) == 2
    # The steps begin with the first position.
    assert of_u2.step_s == pytest.approx(1800 / 1500)
    other = await paths_of(emptied_database, underlying="QQQ", broker="ibkr")
    assert other.contracts == []
    assert (await paths_of(emptied_database, broker="tastytrade")).outages == []


async def test_too_many_contracts_are_refused(emptied_database, db):
    db.execute(
        "insert into positions (broker, account_id, contract_key, observed_at, kind,"
        " quantity) select 'ibkr', 'U1', n::text, %s, 'option', 1"
        " from generate_series(0, %s) n",
        [minute(-1), MAX_CONTRACTS],
    )

    with pytest.RaisesGroup(
        pytest.RaisesExc(
            TooManyContracts, check=lambda exc: exc.contracts == MAX_CONTRACTS + 1
        )
    ):
        await paths_of(emptied_database)
