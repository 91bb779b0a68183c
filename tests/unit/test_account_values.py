"""The values of an account, as each broker sends them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from greeks_trio.brokers.ibkr.positions.account_values import read_summary
from greeks_trio.brokers.tastytrade.positions.account_values import read_balances
from tests.factories import START
from tests.for_each import for_each

T = 1_790_000_000_000
SUMMARY = {
    "netliquidation": 32520.734,
    "totalcashvalue": -1500,
    "buyingpower": 91314.12,
    "initmarginreq": 12115.26,
    "maintmarginreq": 9692.211,
    "excessliquidity": 22828.52,
}
BALANCES = {
    "net-liquidating-value": "32520.734",
    "cash-balance": "-1500.0",
    "equity-buying-power": "45657.06",
    "derivative-buying-power": "22828.53",
    "maintenance-requirement": "9692.211",
    "maintenance-excess": "22828.52",
    "updated-at": "2026-09-21T14:30:00.928+00:00",
}


def value(amount, **changes):
    return {
        "amount": amount,
        "currency": "USD",
        "isNull": False,
        "timestamp": T,
        "value": None,
        "severity": 0,
    } | changes


def summary(**changes):
    """Return the summary with other values; `...` takes one out."""
    found = {key: value(amount) for key, amount in SUMMARY.items()} | changes
    return {key: each for key, each in found.items() if each is not ...}


def balances(**changes):
    found = BALANCES | {key.replace("_", "-"): each for key, each in changes.items()}
    return json.dumps({key: each for key, each in found.items() if each is not ...})


def test_a_summary_of_ibkr():
    sent = read_summary(summary(netliquidation=value(32520.734, timestamp=T - 5_000)))

    row = sent.row("ibkr", "U1", START)
    assert msgspec.structs.asdict(row) == {
        "broker": "ibkr",
        "account_id": "U1",
        "observed_at": START,
        "event_time": datetime.fromtimestamp((T - 5_000) / 1_000, UTC),
        "currency": "USD",
        "net_liquidation": Decimal("32520.734"),
        "cash": Decimal(-1500),
        "buying_power": Decimal("91314.12"),
        "derivative_buying_power": None,
        "initial_margin": Decimal("12115.26"),
        "maintenance_margin": Decimal("9692.211"),
        "excess_liquidity": Decimal("22828.52"),
        "problem": None,
    }


def test_balances_of_tastytrade():
    row = read_balances(balances()).row("tastytrade", "5WX1", START)

    assert row.event_time == datetime(2026, 9, 21, 14, 30, 0, 928_000, UTC)
    assert row.currency == "USD"
    assert row.net_liquidation == Decimal("32520.734")
    assert row.cash == Decimal(-1500)
    assert row.buying_power == Decimal("45657.06")
    assert row.derivative_buying_power == Decimal("22828.53")
    assert row.initial_margin is None
    assert row.maintenance_margin == Decimal("9692.211")
    assert row.excess_liquidity == Decimal("22828.52")
    assert row.problem is None


ODD_AMOUNTS = (
    *(float("nan"), float("inf"), sys.float_info.max, -1e15, 2**31 - 1, 2**63 - 1),
    *("several", "1,234.5", "NaN", "-Infinity", True, [], {}),
)


@for_each(ODD_AMOUNTS)
def test_an_amount_that_cannot_be_one_is_missing_and_named(odd):
    sent = read_summary(summary(totalcashvalue=value(odd)))

    row = sent.row("ibkr", "U1", START)
    assert row.cash is None
    assert list(sent.odd) == ["cash"]
    assert row.problem.startswith("cash: ")
    assert len(row.problem) < 100
    assert row.net_liquidation == Decimal("32520.734")
    text = odd if isinstance(odd, str | list | dict | bool) else str(odd)
    other = read_balances(balances(cash_balance=text))
    assert list(other.odd) == ["cash"]
    assert "net_liquidation" in other.amounts


def test_a_number_of_thousands_of_digits_is_missing():
    assert list(read_summary(summary(totalcashvalue=value(10**5_000))).odd) == ["cash"]


def test_an_amount_that_is_not_sent_is_missing_and_no_problem():
    sent = read_summary(
        summary(
            totalcashvalue=...,
            buyingpower=value(0.0, isNull=True),
            initmarginreq=value(None),
            maintmarginreq=None,
        )
    )

    assert set(sent.amounts) == {"net_liquidation", "excess_liquidity"}
    assert not sent.odd
    other = read_balances(balances(cash_balance=..., maintenance_requirement=None))
    assert not {"cash", "maintenance_margin"} & set(other.amounts)
    assert not other.odd


def test_the_currency_is_that_of_most_amounts():
    odd = value(float("nan"), currency="EUR")
    sent = read_summary(
        summary(netliquidation=odd, totalcashvalue=value(5, currency="EUR"))
    )

    assert sent.currency == "USD"
    assert set(sent.odd) == {"net_liquidation", "cash"}


def test_an_amount_in_another_currency_is_missing():
    sent = read_summary(
        summary(
            totalcashvalue=value(5, currency="EUR"), buyingpower=value(5, currency=7)
        )
    )

    assert sent.currency == "USD"
    assert sent.odd == {
        "cash": "it is in EUR, not in USD",
        "buying_power": "its currency cannot be read",
    }
    other = read_balances(balances(currency="EUR"))
    assert not other.amounts
    assert len(other.odd) == 6
    assert other.currency is None
    assert not read_balances(balances(currency="USD")).odd


@for_each([None, [], "text", 5])
def test_an_answer_of_another_form_is_none(content):
    assert read_summary(content) is None
    assert read_balances(json.dumps(content).encode()) is None


def test_an_answer_without_amounts_is_empty():
    assert read_summary({"accountcode": value(0)}).is_empty
    assert read_balances(b"{}").is_empty


@for_each([None, 0, -5, True, "1790000000000", 10**30])
def test_a_time_that_cannot_be_one_is_missing(time):
    sent = read_summary({"netliquidation": value(5, timestamp=time)})
    assert sent.event_time is None
    assert sent.amounts == {"net_liquidation": 5}


def test_an_amount_with_more_decimals_than_the_database_keeps_costs_no_other():
    for text in ("1e-20000", "0." + "1" * 20_000):
        sent = read_balances(balances(cash_balance=text, equity_buying_power="1e-320"))

        assert sent is not None
        assert sent.odd == {"cash": "it has more than 400 decimals"}
        assert sent.amounts["buying_power"] == Decimal("1e-320")
        assert sent.amounts["net_liquidation"] == Decimal("32520.734")
