"""The profit or loss since a moment: a day computed by hand, and that of `explain`."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import combinations

import msgspec
import pytest

from greeks_trio.postgres.reads.paths import PathsFilter, read_paths
from greeks_trio.risk.explain import explain
from greeks_trio.risk.explain_records import ExplainRequest, Paths
from tests.database.random_book import tag
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    rows,
    tick,
)
from tests.timeline import asking, serving

# Midnight in New York of the day of the moment.
START = datetime(2025, 11, 14, 5, 0, tzinfo=UTC)
YESTERDAY = START - timedelta(hours=8)
RY = "ibkr:7001"
ES = "./ES  251219C6600"
GROUPS = (
    *("broker", "account_id", "underlying", "expiration", "expiration_bucket"),
    "strategy_tag",
)
AMOUNTS = ("profit_loss", "start_value", "end_value", "trades")
COUNTS = (
    *("trades_at_price", "trades_at_mark", "expired", "unused_trades"),
    *("left_out", "from_first_price", "stale"),
)


@pytest.fixture
def database(emptied_database):
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection
        connection.execute("drop table ticks")


def at(hours):
    return START + timedelta(hours=hours)


def spy(number):
    """Return the key of an option of its own."""
    return f"SPY   251219C00{number:03}000"


def ticks(db, key, *prices, **changes):
    """Store a tick for each pair of hours after the start and price."""
    for hours, price in prices:
        tick(db, key, event_time=at(hours), **{"price": price, **changes})


def trade(db, key, action, quantity, price, when, **place):
    row = {"broker": "ibkr", "account_id": "U1", **place}
    db.execute(
        "insert into trades (broker, account_id, symbol, contract_key, action, quantity,"
        " price, created_at) values (%s, %s, 'S', %s, %s, %s, %s, %s)",
        [row["broker"], row["account_id"], key, action, quantity, price, when],
    )


def profit(db, start=START, moment=MOMENT):
    """Return the position rows by contract."""
    found = rows(
        db, "select * from position_profit(%s, %s::timestamptz)", start, moment
    )
    return {row["contract_key"]: row for row in found}


def amounts(row):
    return tuple(row[name] for name in AMOUNTS)


def totals(db, *group_by, moment=MOMENT, start=START, **only):
    names = "".join(f", only_{name} => %s" for name in only)
    return rows(
        db,
        f"select * from profit_totals(%s, %s::timestamptz, %s{names})",
        start,
        moment,
        list(group_by),
        *only.values(),
    )


def test_a_day_without_trades(db):
    hold(db, 2, at=YESTERDAY)
    # Of the last evening, and one that comes after the end.
    ticks(db, CALL, (-9, 9.0), (-8, 10.0), (5, 11.0), (10, 12.0), (11, 99.0))
    canada = {"underlying": "RY:CAD", "currency": "CAD", "price_factor": 1}
    hold(db, -1, RY, at=YESTERDAY, **canada)
    ticks(db, RY, (-1, 3.0), (9, 2.5), underlying="RY:CAD", underlying_price=200.0)

    found = profit(db)

    call = found[CALL]
    assert amounts(call) == (400.0, 2000.0, 2400.0, 0.0)
    assert (call["start_price"], call["start_price_at"]) == (10.0, at(-8))
    assert (call["end_price"], call["end_price_at"]) == (12.0, at(10))
    assert (call["first_price_at"], call["left_out"]) == (None, None)
    assert (call["quantity"], call["is_stale"]) == (2, True)
    assert amounts(found[RY]) == (50.0, -300.0, -250.0, 0.0)
    by_currency = {row["currency"]: row["profit_loss"] for row in totals(db)}
    assert by_currency == {"USD": 400.0, "CAD": 50.0}
    # The values are those of the totals at the two moments.
    for moment, name in ((START, "start_value"), (MOMENT, "end_value")):
        values = rows(db, "select * from risk_totals_asof(%s, '{}')", moment)
        expected = {row["currency"]: row["market_value"] for row in values}
        assert {row["currency"]: row[name] for row in totals(db)} == expected


def test_shares_and_futures_have_the_price_that_comes_with_an_option(db):
    hold(db, 1, at=YESTERDAY)
    ticks(db, CALL, (-1, 10.0), underlying_price=640.0)
    ticks(db, CALL, (3, 10.0), underlying_price=645.0)
    ticks(db, CALL, (9, 10.0), underlying_price=650.0)
    hold_shares(db, 200, at=YESTERDAY)
    # A quarter is sold, without a recorded trade: it counts at the next price.
    hold_shares(db, 150, at=at(2))
    of_future = {"underlying": "/ESZ25", "multiplier": 50, "price_factor": 1}
    hold(db, 1, ES, kind="future_option", at=YESTERDAY, **of_future)
    for hours, price in ((-1, 6700.0), (9, 6710.0)):
        ticks(db, ES, (hours, 100.0), underlying="/ESZ25", underlying_price=price)
    on = {"kind": "future", "expiration": "2025-12-19", "contract_key": "/ESZ25"}
    hold_shares(db, -1, at=YESTERDAY, **on, **of_future)

    found = profit(db)

    shares = found["SPY"]
    expected = 150 * 10.0 + 50 * 5.0
    assert amounts(shares) == (expected, 128_000.0, 97_500.0, -50 * 645.0)
    assert (shares["trades_at_mark"], shares["trades_at_price"]) == (1, 0)
    # A future has no value: its gain is paid out.
    assert amounts(found["/ESZ25"]) == (-500.0, 0.0, 0.0, 500.0)
    assert found["/ESZ25"]["start_price"] == 6700.0


def test_shares_in_pounds_take_no_price_in_pence(db):
    london = {"underlying": "VOD", "currency": "GBP"}
    for key, factor, scale in ((RY, 1, 1.0), ("ibkr:7002", 0.01, 100.0)):
        hold(db, 1, key, at=YESTERDAY, price_factor=factor, **london)
        # The tick in pence is nearer to the change.
        for hours, price in ((-1, 1.0), (4 / scale + 2, 2.0), (9, 3.0)):
            tick(
                db,
                key,
                event_time=at(hours),
                underlying="VOD",
                price=1.0,
                underlying_price=price * scale,
            )
    shares = {"contract_key": "VOD", "price_factor": 1, **london}
    hold_shares(db, 100, at=YESTERDAY, **shares)
    hold_shares(db, 40, at=at(2), **shares)

    assert amounts(profit(db)["VOD"]) == (140.0, 100.0, 120.0, -120.0)


def test_a_split_of_the_shares_is_no_trade(db):
    hold(db, 1, at=YESTERDAY)
    ticks(db, CALL, (-1, 10.0), underlying_price=2.4)
    # The new price comes before the account is read.
    ticks(db, CALL, (3, 10.0), underlying_price=24.5)
    ticks(db, CALL, (9, 10.0), underlying_price=25.0)
    hold_shares(db, 1000, at=YESTERDAY)
    hold_shares(db, 100, at=at(4))
    # Nine of ten shares were sold at nearly the same price.
    other = {"contract_key": "QQQ", "underlying": "QQQ"}
    hold(db, 1, spy(601), at=YESTERDAY, underlying="QQQ")
    for hours, price in ((-1, 10.0), (9, 11.0)):
        ticks(db, spy(601), (hours, 1.0), underlying="QQQ", underlying_price=price)
    hold_shares(db, 1000, at=YESTERDAY, **other)
    hold_shares(db, 100, at=at(4), **other)

    found = profit(db)

    assert amounts(found["SPY"]) == (pytest.approx(100.0), 2400.0, 2500.0, 0.0)
    assert (found["SPY"]["splits"], found["SPY"]["trades_at_mark"]) == (1, 0)
    assert amounts(found["QQQ"]) == (1000.0, 10_000.0, 1100.0, -9900.0)
    assert (found["QQQ"]["splits"], found["QQQ"]["trades_at_mark"]) == (0, 1)
    by_contract, _ = explained(db)
    for key in ("SPY", "QQQ"):
        assert by_contract[key].profit_loss == pytest.approx(found[key]["profit_loss"])
        assert by_contract[key].splits == found[key]["splits"]


@pytest.mark.parametrize(
    ("quantities", "prices", "is_split"),
    [
        ((100, 200), (10.0, 5.0), True),
        ((-100, -50), (10.0, 22.0), True),
        ((100, 150), (30.0, 20.0), True),
        ((100, 130), (13.0, 10.0), False),
        ((100, 200), (10.0, 8.0), False),
        ((100, -200), (10.0, 5.0), False),
        ((100, 200), (10.0, 0.0), False),
        ((100, 200), (None, 5.0), False),
    ],
)
def test_what_counts_as_a_split(db, quantities, prices, is_split):
    query = "select is_split(%s::float8, %s::float8, %s::float8, %s::float8)"

    assert db.execute(query, [*quantities, *prices]).fetchone() == (is_split,)


def test_trades_and_changes_without_trades(db):
    bought, guessed, partly, opened, closed, inside = map(spy, range(601, 607))
    for key in (bought, guessed, partly, closed):
        hold(db, 1, key, at=YESTERDAY)
        ticks(db, key, (-1, 10.0), (4, 11.5), (10, 12.0))
    for key in (opened, inside):
        ticks(db, key, (4, 11.5), (10, 12.0))
    # Two bought for 11.00, and seen ten minutes later, after a reading that repeats the old
    # quantity.
    trade(db, bought, "Buy to Open", 2, 11.0, at(3))
    hold(db, 1, bought, at=at(3) + timedelta(minutes=5))
    hold(db, 3, bought, at=at(3) + timedelta(minutes=10))
    hold(db, 3, guessed, at=at(3))
    # One of two trades was recorded: the change counts at the next price.
    trade(db, partly, "buy", 1, 11.0, at(3))
    hold(db, 3, partly, at=at(3.5))
    trade(db, opened, "sell", -2, 13.0, at(3))
    hold(db, -2, opened, at=at(3.5))
    hold(db, 0, closed, at=at(9.5))
    trade(db, inside, "buy", 1, 11.0, at(3))
    trade(db, inside, "sell", 1, 14.0, at(6))
    hold(db, 1, inside, at=at(3.5))
    hold(db, 0, inside, at=at(6.5))

    found = profit(db)

    assert amounts(found[bought]) == (400.0, 1000.0, 3600.0, 2200.0)
    assert amounts(found[guessed]) == (300.0, 1000.0, 3600.0, 2300.0)
    assert amounts(found[partly]) == (300.0, 1000.0, 3600.0, 2300.0)
    assert amounts(found[opened]) == (200.0, 0.0, -2400.0, -2600.0)
    assert amounts(found[closed]) == (200.0, 1000.0, 0.0, -1200.0)
    assert amounts(found[inside]) == (300.0, 0.0, 0.0, -300.0)
    counted = {
        key: tuple(row[name] for name in COUNTS[:4]) for key, row in found.items()
    }
    assert counted == {
        bought: (1, 0, 0, 0),
        guessed: (0, 1, 0, 0),
        partly: (0, 1, 0, 1),
        opened: (1, 0, 0, 0),
        closed: (0, 1, 0, 0),
        inside: (2, 0, 0, 0),
    }
    assert (found[closed]["quantity"], found[opened]["start_price"]) == (0, None)


def test_what_has_no_price_at_the_start_counts_from_its_first_one(db):
    late, older, new = spy(601), spy(602), spy(603)
    hold(db, 2, late, at=YESTERDAY)
    ticks(db, late, (3, 5.0), (9, 6.0))
    # Its price is more than a week old.
    hold(db, 1, older, at=YESTERDAY)
    ticks(db, older, (-24 * 8, 50.0), (4, 5.0), (9, 7.0))
    # The account is read for the first time at four o'clock.
    of_new = {"account_id": "U9"}
    hold(db, 1, new, at=at(4), **of_new)
    ticks(db, new, (4.5, 8.0), (9, 9.0), **of_new)
    hold(db, 1, spy(604), at=at(5), **of_new)
    ticks(db, spy(604), (6, 1.0), (9, 1.5), **of_new)

    found = profit(db)

    assert amounts(found[late]) == (200.0, 1000.0, 1200.0, 0.0)
    assert found[late]["first_price_at"] == at(3)
    assert amounts(found[older]) == (200.0, 500.0, 700.0, 0.0)
    assert amounts(found[new]) == (100.0, 800.0, 900.0, 0.0)
    assert found[new]["first_price_at"] == at(4.5)
    # The second one was opened later: that is a trade.
    assert amounts(found[spy(604)]) == (50.0, 0.0, 150.0, 100.0)
    [row] = totals(db)
    assert (row["from_first_price"], row["first_price_at"]) == (3, at(4.5))
    assert (row["trades_at_mark"], row["left_out"]) == (1, 0)
    assert (row["started_at"], row["ended_at"]) == (START, MOMENT)


def test_the_last_price_counts_where_the_newest_tick_has_none(db):
    hold(db, 1, at=YESTERDAY)
    ticks(db, CALL, (-3, 10.0), (-1, None), (3, 11.0), (9, None))

    [row] = profit(db).values()

    assert amounts(row) == (100.0, 1000.0, 1100.0, 0.0)
    assert (row["start_price_at"], row["end_price_at"]) == (at(-3), at(3))


def test_an_expired_contract_leaves_at_its_last_price(db):
    key = "SPY   251113C00600000"
    hold(db, 1, key, at=YESTERDAY, expiration="2025-11-13")
    ticks(db, key, (-9, 4.0), (-8, 3.0), expiration="2025-11-13")
    hold(db, 1, PUT, at=YESTERDAY, expiration="2025-11-13")
    ticks(db, PUT, (-9, 4.0), (2, 3.5), expiration="2025-11-13")
    hold(db, 0, PUT, at=at(1), expiration="2025-11-13")

    found = profit(db)

    assert amounts(found[key]) == (0.0, 300.0, 0.0, -300.0)
    assert (found[key]["expired"], found[key]["trades_at_mark"]) == (1, 0)
    assert amounts(found[PUT]) == (-50.0, 400.0, 0.0, -350.0)
    assert (found[PUT]["expired"], found[PUT]["trades_at_mark"]) == (1, 0)


def test_what_has_no_profit_is_left_out_and_named(db):
    hold(db, 1, at=YESTERDAY)
    ticks(db, CALL, (-1, 10.0), (9, 11.0))
    hold(db, 1, spy(601), at=YESTERDAY)
    hold(db, 1, spy(602), at=YESTERDAY, multiplier=None)
    ticks(db, spy(602), (-1, 10.0), (9, 11.0))
    bond = {"contract_key": "ibkr:9", "underlying": None, "kind": "other"}
    hold_shares(db, 5, at=YESTERDAY, **bond)
    unknown = {"contract_key": "ibkr:8", "underlying": None, "kind": "unknown"}
    hold_shares(db, None, at=YESTERDAY, **unknown)
    hold_shares(db, 5, at=YESTERDAY, contract_key="TLT", underlying="TLT")
    # Closed long ago.
    hold(db, 1, spy(603), at=YESTERDAY - timedelta(days=3))
    hold(db, 0, spy(603), at=YESTERDAY - timedelta(days=2))

    found = profit(db)

    assert {key: row["left_out"] for key, row in found.items()} == {
        CALL: None,
        spy(601): "price",
        spy(602): "quantity",
        "ibkr:9": "kind",
        "ibkr:8": "kind",
        "TLT": "price",
    }
    [row] = totals(db)
    assert (row["profit_loss"], row["positions"], row["left_out"]) == (100.0, 6, 5)
    reasons = ("missing_price", "missing_quantity", "other_positions")
    assert [row[name] for name in reasons] == [2, 1, 2]
    by_underlying = {row["underlying"]: row for row in totals(db, "underlying")}
    assert by_underlying["TLT"]["profit_loss"] is None


def test_the_present_and_the_day_begins_in_new_york(db):
    now = datetime.now(UTC)
    [(today, of_winter)] = db.execute(
        "select start_of_day('infinity'), start_of_day('2026-01-10T04:59:00Z')"
    ).fetchall()
    assert today <= now < today + timedelta(hours=25)
    assert of_winter == datetime(2026, 1, 9, 5, 0, tzinfo=UTC)
    day = now.date() + timedelta(days=30)
    hold(db, 1, expiration=day, at=now - timedelta(days=2))
    for seconds, price in ((90_000, 10.0), (5, 12.0)):
        before = now - timedelta(seconds=seconds)
        tick(db, event_time=before, price=price, expiration=day)
    db.execute("select refresh_latest()")

    [row] = rows(db, "select * from profit_today where group_by = 'book'")
    assert (row["profit_loss"], row["stale"], row["started_at"]) == (200.0, 0, today)
    [row] = rows(db, "select * from position_profit_today")
    assert (row["profit_loss"], row["is_stale"]) == (200.0, False)
    db.execute("truncate latest_ticks, latest_state")


class Scribe:
    """Writes a random day: ticks, changes of quantity, and trades for some of them."""

    def __init__(self, db, chance):
        self.db = db
        self.chance = chance

    def write(self, number):
        """Write one contract, and the shares of its underlying."""
        chance = self.chance
        place = {"broker": chance.choice(["ibkr", "tastytrade"])}
        place["account_id"] = chance.choice(["U1", "U2"])
        underlying = f"U{number}"
        of = {"underlying": underlying, **place}
        of["currency"] = chance.choice(["USD", "CAD", None])
        key = f"K{number}"
        of["price_factor"] = chance.choice([1, 0.01])
        has_shares = chance.random() < 0.5
        for hours in sorted(chance.sample(range(-60, 90), chance.randrange(2, 12))):
            # The shares have a price in each tick that has one of the option.
            rarely = [None] if chance.random() < 0.3 and not has_shares else []
            tick(
                self.db,
                key,
                event_time=at(hours / 10 + 0.01),
                underlying=underlying,
                price=chance.choice([*rarely, chance.uniform(1, 9)]),
                underlying_price=chance.uniform(90, 110),
                **place,
            )
        self.positions(hold, key, **of)
        if has_shares:
            self.positions(hold_shares, f"S{number}", contract_key=f"S{number}", **of)
        if chance.random() < 0.5:
            tag(self.db, key, chance.choice(["condor", None]), **place)

    def positions(self, write, key, **terms):
        """Write the changes of one position, some with trades before them."""
        chance = self.chance
        arguments = [key] if write is hold else []
        held = 0
        first = chance.choice([-90, -90, -90, 5])
        for hours in [
            first,
            *sorted(chance.sample(range(10, 80), chance.randrange(3))),
        ]:
            new = chance.choice([-2, 0, 1, 3]) if held else chance.choice([-2, 1, 3])
            moment = at(hours / 10)
            place = {name: terms[name] for name in ("broker", "account_id")}
            if chance.random() < 0.5 and new != held:
                action = "buy" if new > held else "sell"
                price = chance.uniform(1, 9)
                amount = abs(new - held) + chance.choice([0, 0, 1])
                before = moment - timedelta(seconds=30)
                trade(self.db, key, action, amount, price, before, **place)
            write(self.db, new, *arguments, at=moment, **terms)
            held = new


def explained(db):
    """Return the rows of `explain` by contract, and the contracts that it leaves out."""
    paths = msgspec.json.decode(
        read_paths(PathsFilter(start=START, end=MOMENT), db), type=Paths
    )
    request = ExplainRequest(start=START, end=MOMENT, rate=0.0, group_by="contract_key")
    answer = explain(request, paths)
    by_contract = {row.group["contract_key"]: row for row in answer.groups}
    return by_contract, {each.contract_key for each in answer.left_out}


@pytest.mark.parametrize("seed", range(4))
def test_the_profit_is_that_of_explain(db, seed):
    scribe = Scribe(db, random.Random(seed))
    for number in range(25):
        scribe.write(number)

    by_contract, left_out = explained(db)
    found = profit(db)

    assert len(found) > 25
    assert {key for key, row in found.items() if row["left_out"]} == left_out
    assert {key for key, row in found.items() if not row["left_out"]} == set(
        by_contract
    )
    for key, row in by_contract.items():
        same = found[key]
        assert same["profit_loss"] == pytest.approx(row.profit_loss, abs=1e-6), key
        assert same["end_value"] == pytest.approx(row.end_value, abs=1e-6), key
        for name in ("trades_at_price", "trades_at_mark", "expired", "unused_trades"):
            assert same[name] == getattr(row, name), (key, name)
        late = row.from_first_price + row.first_seen
        assert (same["first_price_at"] is not None) == (late > 0), key
    assert_adds_up(db, list(found.values()))


def assert_adds_up(db, positions):
    """Check that the groups of any grouping add up to the positions."""
    for number in range(3):
        for group_by in combinations(GROUPS, number):
            found = totals(db, *group_by)
            assert sum(row["positions"] for row in found) == len(positions)
            for name in AMOUNTS:
                for currency in ("USD", "CAD"):
                    parts = [row for row in found if row["currency"] == currency]
                    known = [
                        row[name] or 0
                        for row in positions
                        if (row["currency"] or "USD") == currency
                    ]
                    assert sum(row[name] or 0 for row in parts) == pytest.approx(
                        sum(known), abs=1e-6
                    ), (group_by, name)
            late = sum(row["first_price_at"] is not None for row in positions)
            assert sum(row["from_first_price"] for row in found) == late


async def test_over_http_by_any_columns_with_filters(db, database):
    hold(db, 2, at=YESTERDAY)
    ticks(db, CALL, (-1, 10.0), (9, 12.0))
    hold(db, 1, PUT, at=YESTERDAY, option_type="put")
    ticks(db, PUT, (-1, 10.0), (9, 9.0), option_type="put")
    hold_shares(db, 100, at=YESTERDAY)
    tag(db, PUT, "hedge")
    day = {"start": START.isoformat(), "end": MOMENT.isoformat()}
    async with asking(database) as timeline, serving(timeline) as client:

        async def ask(path="", **params):
            answer = await client.get(f"/v1/risk/profit{path}", params=params)
            return answer.json()["items"]

        [book] = await ask(**day, group_by="book")
        by_tag = await ask(**day, group_by="strategy_tag,expiration")
        [shares] = await ask(**day, group_by="book", without="expiration")
        [hedge] = await ask("/positions", **day, strategy_tag="hedge", underlying="spy")
        without = await ask("/positions", **day, without="strategy_tag", currency="USD")
        lines = await client.get("/v1/risk/profit", params={**day, "format": "csv"})
        today = await ask(group_by="book")
        other = await client.get(
            "/v1/risk/profit", params={"start": day["end"], "end": day["start"]}
        )

    assert (book["profit_loss"], book["positions"]) == (300.0, 3)
    assert book["started_at"] == "2025-11-14T05:00:00.000000Z"
    assert {
        (row["strategy_tag"], row["expiration"]): row["profit_loss"] for row in by_tag
    } == {
        (None, None): 0.0,
        (None, "2025-12-19"): 400.0,
        ("hedge", "2025-12-19"): -100.0,
    }
    assert (shares["profit_loss"], shares["start_value"]) == (0.0, 65_000.0)
    assert (hedge["contract_key"], hedge["profit_loss"]) == (PUT, -100.0)
    assert {row["contract_key"] for row in without} == {CALL, "SPY"}
    assert len(lines.text.splitlines()) == 2
    # The options have expired, and the shares have no price.
    assert (today[0]["profit_loss"], today[0]["missing_price"]) == (None, 1)
    assert other.status_code == 422
