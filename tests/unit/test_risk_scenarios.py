"""Scenarios of positions: every cell is a full repricing, and nothing is left out silently."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import msgspec
import pytest
import QuantLib as ql  # noqa: N813 - as its documents do

from greeks_trio.risk.pricing import years_to
from greeks_trio.risk.scenario_records import (
    Beta,
    Holding,
    Holdings,
    RefusedScenario,
    ScenarioRequest,
)
from greeks_trio.risk.scenarios import FIGURES, run_scenarios
from tests.formula_errors import AmericanPricer

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
EXPIRATION = date(2026, 12, 18)
YEARS = years_to(EXPIRATION, NOW)
RATE = 0.04


def option(**changes):
    """One SPY put; by default 2 contracts, long."""
    values = {
        "broker": "ibkr",
        "account_id": "U1",
        "contract_key": "SPY   261218P00600000",
        "kind": "option",
        "underlying": "SPY",
        "expiration": EXPIRATION,
        "strike": 600.0,
        "option_type": "put",
        "quantity": 2.0,
        "currency": "USD",
        "units": 200.0,
        "money": 200.0,
        "premium": 200.0,
        "implied_volatility": 0.2,
        "price": 9.0,
        "underlying_price": 610.0,
        "is_underlying_price_stale": False,
    }
    return Holding(**values | changes)


def spx(**changes):
    values = {
        "contract_key": "SPXW  261218C06000000",
        "underlying": "SPX",
        "strike": 6000.0,
        "option_type": "call",
        "quantity": -1.0,
        "units": -100.0,
        "money": -100.0,
        "premium": -100.0,
        "implied_volatility": 0.15,
        "price": 120.0,
        "underlying_price": 6050.0,
    }
    return option(**values | changes)


def future_option(**changes):
    values = {
        "contract_key": "./EX3 261218C7100",
        "kind": "future_option",
        "underlying": "/ESZ26",
        "strike": 7100.0,
        "option_type": "call",
        "quantity": 1.0,
        "units": 50.0,
        "money": 50.0,
        "premium": 50.0,
        "implied_volatility": 0.16,
        "price": 100.0,
        "underlying_price": 7080.0,
    }
    return option(**values | changes)


def shares(**changes):
    values = {
        "broker": "tastytrade",
        "account_id": "T1",
        "contract_key": "SPY",
        "kind": "equity",
        "underlying": "SPY",
        "quantity": 100.0,
        "currency": "USD",
        "units": 100.0,
        "money": 100.0,
        "premium": 100.0,
        "underlying_price": 610.0,
        "is_underlying_price_stale": False,
    }
    return Holding(**values | changes)


def future(**changes):
    values = {
        "contract_key": "/ESZ26",
        "kind": "future",
        "underlying": "/ESZ26",
        "quantity": -1.0,
        "units": -50.0,
        "money": -50.0,
        "underlying_price": 7080.0,
    }
    return shares(**values | changes)


def request(**changes):
    values = {
        "moves": (-5.0, 0.0, 5.0),
        "vols": (-3.0, 0.0),
        "days": (0.0,),
        "rate": RATE,
    }
    return ScenarioRequest(**values | changes)


def run(*holdings, **changes):
    return run_scenarios(request(**changes), Holdings(NOW, holdings))


def grid(answer, number=0):
    [total] = answer["totals"]
    return total["grids"][number]


def quantlib_price(holding, *, move=0.0, points=0.0, days=0.0):
    """Return the price of an option by QuantLib after the changes."""
    spot = holding.underlying_price * (1 + move)
    years = YEARS - days / 365
    volatility = holding.implied_volatility + points / 100
    is_call = holding.option_type == "call"
    if holding.underlying == "SPY":
        return AmericanPricer().price(
            is_call, spot, holding.strike, years, volatility, RATE, 0.0
        )
    is_future = holding.kind == "future_option"
    kind = ql.Option.Call if is_call else ql.Option.Put
    return ql.BlackCalculator(
        ql.PlainVanillaPayoff(kind, holding.strike),
        spot if is_future else spot * math.exp(RATE * years),
        volatility * math.sqrt(years),
        math.exp(-RATE * years),
    ).value()


def test_each_cell_is_the_sum_that_quantlib_gives():
    options, straight = [option(), spx(), future_option()], [shares(), future()]

    answer = run(*options, *straight, days=(0.0, 7.0))

    for number, days in enumerate((0.0, 7.0)):
        found = grid(answer, number)
        for row, points in enumerate((-3.0, 0.0)):
            for column, move in enumerate((-0.05, 0.0, 0.05)):
                expected = sum(
                    each.premium
                    * (
                        quantlib_price(each, move=move, points=points, days=days)
                        - quantlib_price(each)
                    )
                    for each in options
                ) + sum(each.money * each.underlying_price * move for each in straight)

                assert found["profit_loss"][row][column] == pytest.approx(
                    expected, abs=0.2
                )


def test_the_cell_without_changes_has_no_profit_and_the_present_greeks():
    answer = run(option(), shares())
    found = grid(answer)
    step = 1e-3
    delta = (
        quantlib_price(option(), move=step) - quantlib_price(option(), move=-step)
    ) / (2 * step * 610.0)

    assert found["profit_loss"][1][1] == 0.0
    assert found["delta"][1][1] == pytest.approx(100 + 200 * delta, abs=1e-2)
    assert found["dollar_delta"][1][1] == pytest.approx(
        found["delta"][1][1] * 610.0, rel=1e-9
    )
    [total] = answer["totals"]
    assert total["market_value"] == 200 * 9.0 + 100 * 610.0
    assert total["model_value"] == pytest.approx(
        200 * quantlib_price(option()) + 100 * 610.0, abs=0.1
    )


def test_taylor_agrees_for_small_changes_and_not_for_large_ones():
    found = grid(run(option(), spx(), moves=(-20.0, -0.1, 0.1), vols=(0.0, 0.1)))

    for row in range(2):
        for column in (1, 2):
            full, taylor = (
                found["profit_loss"][row][column],
                found["taylor_profit_loss"][row][column],
            )
            assert taylor == pytest.approx(full, rel=5e-3, abs=0.5)
    assert abs(found["taylor_profit_loss"][0][0] - found["profit_loss"][0][0]) > 1_000


def test_every_position_that_is_in_no_sum_is_counted_with_its_reason():
    left_out = {
        "positions of the kind other have no model": shares(kind="other"),
        "the multiplier or the quantity is not known": option(units=None),
        "the price factor is not known": option(money=None),
        "no price of the underlying": option(underlying_price=None),
        "the multiplier of the premium is not known": option(premium=None),
        "the expiration or the strike is not known": option(expiration=None),
        "call or put is not known": option(option_type=None),
        "the model knows no strike and no price of the underlying below zero": option(
            strike=-5.0
        ),
        "the option has expired": option(expiration=date(2026, 11, 19)),
        "no implied volatility, and there is no price": option(
            implied_volatility=None, price=None
        ),
        "no implied volatility, and the price has no time value": option(
            implied_volatility=None, option_type="call", price=9.5
        ),
    }

    answer = run(option(), *left_out.values())

    assert answer["left_out"]["reasons"] == dict.fromkeys(left_out, 1)
    assert answer["left_out"]["count"] == len(left_out)
    assert {each["reason"] for each in answer["left_out"]["positions"]} == set(left_out)
    [total] = answer["totals"]
    assert (total["contracts"], total["left_out"]) == (1, len(left_out))
    assert total["grids"] == run(option())["totals"][0]["grids"]


def test_rate_and_yield_without_a_model_leave_the_option_out():
    answer = run(
        option(), spx(), rate=-0.02, dividend_yields={"SPY": -0.05, "SPX": 0.01}
    )

    assert answer["left_out"]["reasons"] == {
        "the model does not know this combination of rate and yield": 1
    }
    assert all(
        math.isfinite(each) for row in grid(answer)["profit_loss"] for each in row
    )


def test_a_missing_volatility_is_implied_and_counted():
    price = quantlib_price(option())

    answer = run(option(implied_volatility=None, price=price))

    [total] = answer["totals"]
    assert (total["estimated"], total["far_from_mark"]) == (1, 0)
    assert grid(answer)["profit_loss"][0] == pytest.approx(
        grid(run(option()))["profit_loss"][0], abs=0.1
    )


def test_stale_and_missing_marks_are_counted_beside_the_sums():
    [total] = run(
        option(stale_reason="old"),
        option(is_underlying_price_stale=True),
        option(price=None),
        option(price=20.0),
        shares(is_underlying_price_stale=None),
        shares(is_currency_named=False),
    )["totals"]

    assert (total["stale"], total["without_mark"], total["far_from_mark"]) == (3, 1, 1)
    assert (total["contracts"], total["shares_futures"]) == (4, 2)
    assert total["unnamed_currency"] == 1


def test_underlyings_move_by_their_beta_and_a_missing_one_is_never_1():
    answer = run(
        shares(),
        shares(contract_key="QQQ", underlying="QQQ", underlying_price=500.0),
        shares(contract_key="KO", underlying="KO", underlying_price=70.0),
        future(underlying="/ESZ26"),
        benchmark="SPY",
        betas={"QQQ": Beta(1.2, date(2026, 11, 1)), "/ES": Beta(1.1)},
        moves=(-10.0,),
        vols=(0.0,),
    )

    expected = -0.1 * 100 * 610 - 0.12 * 100 * 500 + 0.11 * 50 * 7080
    assert grid(answer)["profit_loss"] == [[pytest.approx(expected)]]
    assert answer["left_out"]["reasons"] == {"no beta to SPY": 1}
    assert answer["betas"]["QQQ"] == Beta(1.2, date(2026, 11, 1))
    assert answer["betas"]["SPY"] == Beta(1.0)


def test_a_standard_deviation_is_that_of_the_option_nearest_to_the_money():
    far = option(strike=900.0, implied_volatility=0.9)

    answer = run(
        option(),
        far,
        shares(),
        shares(contract_key="KO", underlying="KO"),
        move_unit="sigma",
        moves=(2.0,),
        vols=(0.0,),
    )

    move = 2 * 0.2 / math.sqrt(365)
    found, alone = (
        answer["totals"][0],
        run(option(), far, moves=(100 * move,), vols=(0.0,)),
    )
    assert found["grids"][0]["profit_loss"][0][0] == pytest.approx(
        grid(alone)["profit_loss"][0][0] + 100 * 610.0 * move
    )
    assert answer["left_out"]["reasons"] == {
        "no volatility for the standard deviation": 1
    }
    with pytest.raises(RefusedScenario, match="No option on SPX"):
        run(option(), move_unit="sigma", benchmark="SPX")


def test_shifts_of_volatility_are_points_or_per_cent_alike_or_by_tenor():
    def pnl(**changes):
        return grid(run(option(), moves=(0.0,), **changes))["profit_loss"][0][0]

    assert pnl(vols=(2.0,)) == pytest.approx(pnl(vols=(10.0,), vol_unit="percent"))
    days = YEARS * 365
    scaled = pnl(vols=(2.0 * math.sqrt(30 / days),))
    assert pnl(vols=(2.0,), vol_scaling="square_root") == pytest.approx(scaled)
    # No volatility falls below half a point.
    near = option(strike=611.0)
    lowest, beyond = grid(run(near, moves=(0.0,), vols=(-19.5, -50.0)))["profit_loss"]
    assert beyond == lowest


def test_an_option_that_expires_is_worth_its_exercise_and_has_no_greeks():
    answer = run(option(), days=(40.0,), vols=(0.0,), moves=(-5.0, 5.0))

    base = quantlib_price(option())
    found = grid(answer)
    assert found["expired"] == 1
    assert found["profit_loss"][0] == pytest.approx(
        [200 * (600 - 579.5 - base), -200 * base], abs=0.1
    )
    for name in ("delta", "gamma", "theta", "vega", "rho", "dollar_delta"):
        assert found[name] == [[0.0, 0.0]]


def test_groups_add_up_to_their_currency():
    euro = shares(contract_key="SAP", underlying="SAP", currency="EUR")
    positions = (option(), spx(), shares(), euro, shares(kind="other", currency=None))
    for by in (
        *("underlying", "account_id", "broker", "expiration"),
        *("expiration_bucket", "strategy_tag"),
    ):
        answer = run(*positions, group_by=by)

        *known, unknown = answer["totals"]
        assert [each["currency"] for each in known] == ["EUR", "USD"]
        # The sum of nothing is not 0.
        assert (unknown["currency"], unknown["left_out"]) == (None, 1)
        assert math.isnan(unknown["model_value"])
        assert all(math.isnan(cell) for cell in unknown["grids"][0]["profit_loss"][0])
        for total in known:
            groups = [
                each
                for each in answer["groups"]
                if each["currency"] == total["currency"]
            ]
            assert all(by in each for each in groups)
            for name in set(FIGURES) - {"delta", "gamma"}:
                cells = [each["grids"][0][name] for each in groups]
                summed = [
                    [sum(values) for values in zip(*rows, strict=True)]
                    for rows in zip(*cells, strict=True)
                ]
                for row, expected in zip(summed, total["grids"][0][name], strict=True):
                    assert row == pytest.approx(expected, rel=1e-9, abs=1e-9)
    keys = {
        (each["currency"], each["underlying"])
        for each in run(*positions, group_by="underlying")["groups"]
    }
    assert keys == {("USD", "SPY"), ("USD", "SPX"), ("EUR", "SAP"), (None, "SPY")}


def test_units_of_several_underlyings_do_not_add_up():
    answer = run(option(), spx(), shares(), group_by="underlying")

    [total] = answer["totals"]
    assert total["underlyings"] == 2
    for name in ("delta", "gamma"):
        assert all(math.isnan(cell) for row in grid(answer)[name] for cell in row)
        for group in answer["groups"]:
            assert group["underlyings"] == 1
            assert math.isfinite(group["grids"][0][name][0][0])
    assert math.isfinite(grid(answer)["dollar_delta"][0][0])


def test_groups_are_in_the_order_of_their_values():
    days = (date(2026, 12, 18), date(2027, 2, 19), date(2026, 12, 4), date(2027, 10, 1))
    buckets = ("8-30", "91-365", "8-30", "over 365")
    positions = [
        option(expiration=day, expiration_bucket=bucket)
        for day, bucket in zip(days, buckets, strict=True)
    ]

    by_day, by_bucket = (
        [each[by] for each in run(*positions, shares(), group_by=by)["groups"]]
        for by in ("expiration", "expiration_bucket")
    )

    assert by_day == [*sorted(days), None]
    assert by_bucket == ["8-30", "91-365", "over 365", None]
    assert run(*positions, group_by="book")["groups"] == []


def test_accounts_of_two_brokers_with_one_name_are_two_groups():
    groups = run(option(), shares(account_id="U1"), group_by="account_id")["groups"]

    assert [(each["broker"], each["account_id"]) for each in groups] == [
        ("ibkr", "U1"),
        ("tastytrade", "U1"),
    ]


def test_a_beta_of_the_request_comes_before_each_known_one():
    answer = run(
        future(),
        benchmark="SPY",
        betas={"/ES": Beta(2.0), "SYP": Beta(1.0)},
        known_betas={"/ESZ26": Beta(1.0, date(2026, 11, 1)), "/ES": Beta(1.0)},
        dividend_yields={"SPX500": 0.01},
        moves=(10.0,),
        vols=(0.0,),
    )

    assert grid(answer)["profit_loss"] == [[pytest.approx(-0.2 * 50 * 7080)]]
    assert answer["betas"] == {"/ESZ26": Beta(2.0)}
    # A name with a slip is told.
    assert answer["unused"] == ["SPX500", "SYP"]


def test_too_many_cells_for_all_groups_are_refused():
    many = [shares(contract_key=f"X{n}", underlying=f"X{n}") for n in range(600)]
    moves = tuple(float(n) for n in range(50))

    with pytest.raises(RefusedScenario, match="600 groups"):
        run(*many, group_by="underlying", moves=moves)


def test_no_positions_give_no_sums():
    answer = run()

    assert (answer["totals"], answer["groups"], answer["left_out"]["count"]) == (
        [],
        [],
        0,
    )
    assert msgspec.json.decode(msgspec.json.encode(answer))["values"] == "model"
