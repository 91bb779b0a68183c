"""A profit or loss, explained: paths with known answers, and the simulated market."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from random import Random

import msgspec
import pytest

from greeks_trio.risk.explain import explain
from greeks_trio.risk.explain_records import (
    ContractPath,
    Explained,
    ExplainRequest,
    NothingToExplain,
    Outage,
    Paths,
    Quantity,
    Ticks,
    Trade,
)
from greeks_trio.simulators.market import black_scholes_greeks

START = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
END = START + timedelta(hours=1)
T0 = START.timestamp()
PARTS = ("delta", "gamma", "theta", "vega", "vanna", "vomma", "charm")
NUMBERS = (*PARTS, "trades", "trading", "residual")


def ticks(*rows, **greeks):
    """Return ticks of (minute, price, underlying price, volatility) with these Greeks."""
    known = {"delta": 0.0, "gamma": 0.0, "theta": 0.0, "vega": 0.0} | greeks
    return Ticks(
        at=[T0 + 60.0 * row[0] for row in rows],
        price=[row[1] for row in rows],
        underlying_price=[row[2] for row in rows],
        implied_volatility=[row[3] for row in rows],
        **{name: [value] * len(rows) for name, value in known.items()},
    )


def path(its_ticks, *, held=((-60, 2.0),), **changes):
    """Return a path with (minute, quantity) pairs; 100 units a contract."""
    return ContractPath(
        **{
            "broker": "ibkr",
            "account_id": "U1",
            "contract_key": "SPY   261218C00600000",
            "kind": "option",
            "underlying": "SPY",
            "expiration": date(2026, 12, 18),
            "strike": 600.0,
            "option_type": "call",
            "currency": "USD",
            "quantities": [
                Quantity(T0 + 60.0 * minute, quantity, 100.0, 100.0)
                for minute, quantity in held
            ],
            "ticks": its_ticks,
        }
        | changes
    )


def run(*paths, by="contract_key", outages=(), **request):
    return explain(
        ExplainRequest(start=START, end=END, group_by=by, rate=0.04, **request),
        Paths(step_s=1.0, contracts=list(paths), outages=list(outages)),
    )


def total(*paths, **options):
    """Return the only row of the totals, after the checks that hold for every one."""
    answer = run(*paths, **options)
    [row] = answer.totals
    for each in (row, *answer.groups):
        check_sums(each)
    for name in ("start_value", "end_value", "profit_loss", "residual"):
        groups = math.fsum(getattr(each, name) for each in answer.groups)
        assert groups == pytest.approx(getattr(row, name), abs=1e-9)
    return row


def check_sums(row: Explained):
    parts = [getattr(row, name) or 0.0 for name in NUMBERS]
    assert row.start_value + math.fsum(parts) == pytest.approx(row.end_value, abs=1e-6)
    assert row.profit_loss == pytest.approx(
        row.end_value - row.start_value - row.trades, abs=1e-6
    )


# The underlying from 600 to 603, the volatility from 20 to 21 points, in half an hour.
QUIET = ((-1, 10.0, 600.0, 0.20), (30, 12.0, 603.0, 0.20))


def test_a_move_of_the_underlying_is_delta_and_gamma():
    row = total(path(ticks(*QUIET, delta=0.5, gamma=0.02)))

    assert (row.start_value, row.end_value, row.steps) == (2000.0, 2400.0, 1)
    assert row.delta == pytest.approx(200 * 0.5 * 3)
    assert row.gamma == pytest.approx(200 * 0.5 * 0.02 * 9)
    assert (row.theta, row.vega, row.vanna, row.vomma) == (0.0, 0.0, 0.0, 0.0)
    # Delta of a call at the money changes little by itself in half an hour.
    assert 0 < abs(row.charm) < 1.0
    assert row.residual == pytest.approx(400 - 300 - 18 - row.charm)


def test_a_short_position_gains_time_value():
    still = ((0, 10.0, 600.0, 0.20), (60, 9.9, 600.0, 0.20))

    row = total(path(ticks(*still, theta=-2.4), held=((-60, -3.0),)))

    assert row.theta == pytest.approx(-300 * -2.4 / 24)
    assert (row.profit_loss, row.residual) == pytest.approx((30.0, 0.0))


def test_a_change_of_volatility_is_vega_and_vomma():
    moved = ((0, 10.0, 590.0, 0.20), (30, 10.6, 590.0, 0.21))

    row = total(path(ticks(*moved, vega=0.6)))

    assert row.vega == pytest.approx(200 * 0.6)
    assert 0 < row.vomma < 12
    assert row.vanna == 0.0
    assert row.residual == pytest.approx(-row.vomma)


def test_each_step_takes_the_greeks_at_its_start():
    whole = ticks((0, 10.0, 600.0, 0.2), (20, 11.0, 602.0, 0.2), (40, 12.0, 603.0, 0.2))
    whole = msgspec.structs.replace(whole, delta=[0.5, 0.75, 0.9])

    row = total(path(whole))

    assert row.delta == pytest.approx(200 * (0.5 * 2 + 0.75 * 1))
    assert row.steps == 2


def test_a_value_that_a_tick_lacks_is_the_last_known_one():
    whole = ticks(*QUIET[:1], (10, 11.0, None, None), (30, 12.0, 603.0, 0.2), delta=0.5)
    whole = msgspec.structs.replace(whole, delta=[0.5, None, 0.6])

    row = total(path(whole))

    assert row.delta == pytest.approx(200 * 0.5 * 3)
    assert row.missing_delta == row.missing_second_order == 0


def test_a_part_that_no_step_has_is_null_and_counted():
    row = total(path(ticks(*QUIET, delta=None, gamma=0.02)))

    assert row.delta is None
    assert (row.missing_delta, row.missing_gamma) == (1, 0)
    assert row.profit_loss == pytest.approx(400.0)
    assert row.rho is None


def test_a_trade_counts_at_its_price():
    bought = path(
        ticks(*QUIET, (50, 13.0, 603.0, 0.2), delta=0.5),
        held=((-60, 2.0), (10, 5.0), (40, 1.0)),
        trades=[
            Trade(T0 + 500, "buy_to_open", 3.0, 10.5),
            Trade(T0 + 2000, "sell_to_close", 3.0, 12.5),
            Trade(T0 + 2001, "SELL", -1.0, 12.25),
        ],
    )

    row = total(bought)

    assert row.trades == pytest.approx(100 * (3 * 10.5 - 3 * 12.5 - 12.25))
    # Bought at 10.5 and marked at 12; sold at 12.5 and 12.25, marked at 13.
    assert row.trading == pytest.approx(100 * (3 * 1.5 - 3 * 0.5 - 0.75))
    assert (row.trades_at_price, row.trades_at_mark, row.unused_trades) == (2, 0, 0)
    assert row.end_value == 1300.0
    # Until the first mark two contracts are held, then five.
    assert row.profit_loss == pytest.approx(2 * 200 + 5 * 100 + row.trading)


@pytest.mark.parametrize(
    ("trades", "unused"),
    [
        ([], 0),
        # Another quantity, no price, and another time.
        ([Trade(T0 + 500, "buy", 2.0, 10.5)], 1),
        ([Trade(T0 + 500, "buy", 3.0, None)], 1),
        ([Trade(T0 + 3000, "buy", 3.0, 10.5)], 1),
    ],
)
def test_a_change_without_a_fitting_trade_counts_at_the_mark(trades, unused):
    row = total(path(ticks(*QUIET), held=((-60, 2.0), (10, 5.0)), trades=trades))

    assert row.trades == 3 * 100 * 12.0
    assert row.trading == 0.0
    assert (row.trades_at_mark, row.unused_trades) == (1, unused)


def test_a_position_opened_and_closed_inside_has_no_value_at_both_ends():
    # Its ticks begin after the opening and end before the closing.
    inside = ticks((20, 10.0, 600.0, 0.2), (30, 12.0, 603.0, 0.2), delta=0.5)
    held = ((15, 2.0), (45, 0.0))

    row = total(path(inside, held=held, trades=[Trade(T0 + 900, "buy", 2.0, 9.0)]))

    assert (row.start_value, row.end_value) == (0.0, 0.0)
    assert row.trades == pytest.approx(1800 - 2400)
    assert (row.trades_at_price, row.trades_at_mark) == (1, 1)
    assert row.profit_loss == pytest.approx(600.0)
    assert row.delta == pytest.approx(300.0)


def test_an_expired_contract_leaves_at_its_last_mark():
    # The last day ends on 20 November at 12:00 UTC everywhere, and at 15:30 in this case.
    last_day = {"expiration": date(2026, 11, 19)}
    row = total(
        path(
            ticks((-1, 0.5, 600.0, 0.2)),
            held=((-60, 2.0), (30, 0.0)),
            trades=[],
            **last_day,
        )
    )

    assert (row.start_value, row.end_value, row.profit_loss) == (100.0, 0.0, 0.0)
    assert (row.expired, row.trades_at_mark, row.without_tick) == (1, 0, 1)

    early = ExplainRequest(start=START - timedelta(days=1), end=END, rate=0.04)
    unclosed = path(ticks((-1440, 0.5, 600.0, 0.2)), held=((-2000, 2.0),), **last_day)
    [row] = explain(early, Paths(step_s=1, contracts=[unclosed], outages=[])).totals
    assert (row.end_value, row.trades, row.expired) == (0.0, -100.0, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ticks": Ticks()}, "no price while it was held"),
        ({"ticks": Ticks(), "held": ((5, 1.0),)}, "no price while it was held"),
        ({"held": ((-60, None),)}, "the quantity could not be read"),
        (
            {"quantities": [Quantity(T0 - 60, 1.0)]},
            "the multiplier or the price factor is not known",
        ),
        ({"kind": "other"}, "positions of the kind other have no price"),
        ({"kind": "equity", "underlying": "TLT"}, "no option on it gives its price"),
    ],
)
def test_a_position_without_a_value_is_left_out_and_named(changes, reason):
    whole = path(ticks(*QUIET, delta=0.5))
    hole = path(changes.pop("ticks", ticks(*QUIET)), contract_key="HOLE", **changes)

    answer = run(whole, hole)

    assert answer.totals == run(whole).totals
    [left_out] = answer.left_out
    assert (left_out.contract_key, left_out.reason) == ("HOLE", reason)
    assert answer.left_out_count == 1


def test_a_position_without_a_price_at_the_start_counts_from_its_first_one():
    moves = ticks((10, 10.0, 600.0, 0.2), (30, 12.0, 603.0, 0.2), delta=0.5)

    row = total(path(moves, held=((-60, 1.0), (5, 2.0))))
    answer = run(path(moves, held=((-60, 1.0),)))

    # The change before the first price has that price too.
    assert (row.start_value, row.trades, row.profit_loss) == (1000.0, 1000.0, 400.0)
    assert (row.from_first_price, row.steps) == (1, 1)
    assert answer.totals[0].profit_loss == 200.0
    assert "the last one came at" in answer.notes[1]


def test_steps_over_an_outage_are_counted():
    whole = ticks(
        (0, 10.0, 600.0, 0.2),
        (10, 10.5, 600.0, 0.2),
        (30, 12.0, 600.0, 0.2),
        (40, 12.0, 1, 1),
    )

    def outage(first, last, broker="ibkr", **scope):
        scope = {"account_id": None, "contract_key": None} | scope
        ended_at = None if last is None else START + timedelta(minutes=last)
        begun_at = START + timedelta(minutes=first)
        return Outage(broker, *scope.values(), begun_at, ended_at, ["disconnected"])

    def gaps(*outages):
        row = total(path(whole), outages=outages)
        return row.gap_steps, row.gap_change

    assert gaps(outage(12, 28)) == (1, 300.0)
    assert gaps(outage(5, 12), outage(6, 7)) == (2, 400.0)
    assert gaps(outage(5, None)) == (3, 400.0)
    assert gaps(outage(12, 28, account_id="U2")) == (0, 0.0)
    assert gaps(outage(12, 28, contract_key="OTHER")) == (0, 0.0)
    assert gaps(outage(12, 28, broker="tastytrade")) == (0, 0.0)


def test_shares_and_futures_have_the_price_that_comes_with_an_option():
    option = path(ticks(*QUIET, delta=0.5))
    shares = path(
        Ticks(),
        contract_key="SPY",
        kind="equity",
        expiration=None,
        quantities=[Quantity(T0 - 60, -100.0, 1.0, 1.0)],
    )

    row = total(option, shares)

    assert row.start_value == pytest.approx(2000 - 60_000)
    assert row.delta == pytest.approx(300 - 300)
    assert row.missing_gamma == row.missing_second_order == 0

    on_future = path(ticks(*QUIET), kind="future_option", underlying="/ESZ26")
    future = path(
        Ticks(),
        contract_key="/ESZ26",
        underlying="/ESZ26",
        kind="future",
        held=((-60, 1.0), (10, 2.0)),
        trades=[Trade(T0 + 500, "buy", 1.0, 602.0)],
    )
    row = total(on_future, future)
    # The gain of a future is paid out: it has no value.
    assert row.end_value == 2400.0
    assert row.profit_loss == pytest.approx(400 + 300 + 100)
    assert (row.delta, row.trading) == pytest.approx((300.0, 100.0))


def test_sums_are_by_currency_and_group():
    euro = {"currency": "EUR", "contract_key": "E", "account_id": "U2"}
    answer = run(path(ticks(*QUIET)), path(ticks(*QUIET), **euro), by="account_id")

    assert {row.currency: row.contracts for row in answer.totals} == {
        "USD": 1,
        "EUR": 1,
    }
    assert [row.group for row in answer.groups] == [
        {"broker": "ibkr", "account_id": "U1"},
        {"broker": "ibkr", "account_id": "U2"},
    ]
    tagged = path(ticks(*QUIET), strategy_tag="fly")
    groups = run(tagged, path(ticks(*QUIET)), by="strategy_tag").groups
    assert [row.group for row in groups] == [
        {"strategy_tag": "fly"},
        {"strategy_tag": None},
    ]


def test_a_strategy_is_explained_alone_with_the_prices_of_all_options():
    option = path(ticks(*QUIET), strategy_tag="fly")
    shares = path(
        Ticks(),
        contract_key="SPY",
        kind="equity",
        expiration=None,
        strategy_tag="hedge",
        quantities=[Quantity(T0 - 60, -100.0, 1.0, 1.0)],
    )

    [row] = run(option, shares, strategy_tag="hedge").totals

    assert (row.contracts, row.profit_loss) == (1, pytest.approx(-300.0))
    with pytest.raises(NothingToExplain):
        run(option, shares, strategy_tag="Fly")


def test_positions_are_chosen_by_what_a_total_groups_them_by():
    near = path(ticks(*QUIET), expiration=date(2026, 4, 17), expiration_bucket="8-30")
    euro = path(ticks(*QUIET), contract_key="E", currency="EUR", strategy_tag="fly")
    shares = path(Ticks(), contract_key="SPY", kind="equity", expiration=None)
    everything = (near, euro, shares)

    def chosen(**request):
        found = run(*everything, **request)
        return sorted(row.group["contract_key"] for row in found.groups)

    assert chosen(expiration=date(2026, 4, 17)) == [near.contract_key]
    assert chosen(expiration_bucket="8-30") == [near.contract_key]
    assert chosen(currency="EUR") == ["E"]
    assert chosen(without=("expiration",)) == ["SPY"]
    assert chosen(without=("strategy_tag",)) == ["SPY", near.contract_key]
    assert chosen(currency="USD", without=("expiration", "strategy_tag")) == ["SPY"]
    assert run(*everything, by="book").groups == []
    by_bucket = run(*everything, by="expiration_bucket").groups
    assert {row.group["expiration_bucket"] for row in by_bucket} == {"8-30", None}


def test_the_first_reading_of_an_account_is_no_trade():
    seen = {"seen_from": START + timedelta(minutes=5)}
    found = path(ticks(*QUIET), held=((5, 2.0),), **seen)
    bought = path(ticks(*QUIET), held=((6, 2.0),), contract_key="NEW", **seen)

    row = total(found, bought)

    assert (row.first_seen, row.trades_at_mark) == (1, 1)
    assert row.trades == 2 * 2 * 100 * 12.0


def test_nothing_to_explain():
    with pytest.raises(NothingToExplain, match="No position was held"):
        run(path(ticks(*QUIET), held=((-60, 0.0),)))
    with pytest.raises(NothingToExplain, match="No position was held"):
        run(path(ticks(*QUIET)), underlying="QQQ")


def simulated_book(seed, *, contracts, steps, hours=1.0):
    """Return paths in a Black-Scholes market, and the true change of value of the book.

    The underlyings move as in the simulator, and so does the volatility of each.
    """
    random = Random(seed)
    moves = {}
    for underlying, spot in (("SPY", 600.0), ("TSLA", 400.0), ("KO", 70.0)):
        walk = [(spot, 0.25)]
        for _ in range(steps):
            spot *= math.exp(random.gauss(0.0, 0.0002))
            volatility = walk[-1][1] * math.exp(random.gauss(0.0, 0.001))
            walk.append((spot, volatility))
        moves[underlying] = walk
    paths, truth = [], 0.0
    for number in range(contracts):
        underlying = random.choice(list(moves))
        strike = round(moves[underlying][0][0] * random.uniform(0.9, 1.1))
        days = random.choice((1, 7, 30, 90, 365))
        option_type = random.choice(("call", "put"))
        quantity = float(random.choice((-10, -3, 1, 5)))
        expiration = START.date() + timedelta(days=days)
        ends_at = datetime.combine(expiration, datetime.min.time(), UTC)
        ends_at += timedelta(hours=21)  # 16:00 in New York in winter
        rows, greeks = [], []
        for step, (spot, volatility) in enumerate(moves[underlying]):
            minute = 60.0 * hours * step / steps
            years = (ends_at - START - timedelta(minutes=minute)).total_seconds()
            years /= 365 * 86_400
            each = black_scholes_greeks(
                option_type,
                spot=spot,
                strike=strike,
                years=years,
                volatility=volatility,
            )
            price = spot * each.delta - each.rho * 100.0 / years
            rows.append((minute, price, spot, volatility))
            greeks.append(each)
        truth += 100 * quantity * (rows[-1][1] - rows[0][1])
        its_ticks = msgspec.structs.replace(
            ticks(*rows),
            **{
                name: [getattr(each, name) for each in greeks]
                for name in ("delta", "gamma", "theta", "vega")
            },
        )
        paths.append(
            path(
                its_ticks,
                contract_key=f"C{number}",
                underlying=underlying,
                strike=float(strike),
                option_type=option_type,
                expiration=expiration,
                held=((-60, quantity),),
            )
        )
    return paths, truth


def test_the_residual_of_a_simulated_hour_is_small():
    paths, truth = simulated_book(1, contracts=30, steps=300)

    answer = run(*paths)

    [row] = answer.totals
    gross = sum(abs(each.profit_loss) for each in answer.groups)
    assert round(row.profit_loss, 2) == round(truth, 2)
    check_sums(row)
    # The whole book, and then each contract.
    assert abs(row.residual) < 0.0001 * gross
    residuals = sum(abs(each.residual) for each in answer.groups)
    assert residuals < 0.0001 * gross
    # Each part of second order is needed for it.
    for name in ("gamma", "vanna", "vomma"):
        part = sum(abs(getattr(each, name)) for each in answer.groups)
        assert part > 10 * residuals, name


def test_fewer_steps_leave_a_larger_residual():
    paths, _ = simulated_book(2, contracts=10, steps=300)

    def residual(every):
        thin = [
            msgspec.structs.replace(
                each,
                ticks=Ticks(
                    **{
                        name: getattr(each.ticks, name)[::every]
                        for name in Ticks.__struct_fields__
                    }
                ),
            )
            for each in paths
        ]
        return sum(abs(each.residual) for each in run(*thin).groups)

    assert 10 * residual(1) < 3 * residual(10) < residual(300)
