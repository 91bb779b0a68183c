"""The table of totals: numbers are never cut, and incomplete sums are marked."""

from __future__ import annotations

import io

from rich.console import Console

from greeks_trio.commands.risk_table import risk_table

SUMS = ("net_delta", "dollar_delta", "dollar_gamma", "gamma", "theta", "vega")
COUNTS = (
    *("missing_tick", "missing_multiplier", "missing_price", "missing_price_factor"),
    *("missing_net_delta", "missing_dollar_delta", "missing_gamma", "missing_theta"),
    *("missing_dollar_gamma", "missing_vega", "missing_value", "stale"),
    *("other_positions", "unknown_positions", "unnamed_currency"),
)


def total(**changes):
    names = ("broker", "account_id", "underlying", "expiration_bucket", "strategy_tag")
    return {
        **dict.fromkeys(names),
        **dict.fromkeys(SUMS, -1234.5),
        **dict.fromkeys(COUNTS, 0),
        "market_value": 1.0,
        "currency": "USD",
        "positions": 3,
        "oldest_age_s": 1.25,
        "oldest_carried_age_s": None,
        **changes,
    }


def shown(rows, *group_by, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(risk_table(rows, group_by))
    return console.file.getvalue()


def test_a_terminal_of_80_columns_has_every_digit():
    large = {
        "dollar_delta": -9_999_999.0,
        "missing_dollar_delta": 1,
        "net_delta": -12_345.0,
        "theta": -123_456.0,
        "vega": 123_456.0,
        "oldest_age_s": 99.9,
    }

    text = shown(
        [
            total(underlying="tastytrade:BTC/USD.and.more", **large),
            total(underlying="SPX", dollar_delta=-32_580_000.0, gamma=0.0),
        ],
        "underlying",
    )

    for cell in ("-9,999,999*", "-12,345", "-123,456", "99.9 s", "-32.58M", "missing"):
        assert cell in text
    assert "…" not in text
    assert "…" not in shown(
        [total(broker="tastytrade", account_id="5WX012345", **large)],
        *("broker", "account_id"),
    )


def test_what_a_sum_lacks_is_marked_and_explained():
    row = total(
        underlying="SPY",
        positions=9,
        theta=None,
        missing_theta=4,
        missing_vega=3,
        missing_tick=2,
        missing_price=3,
        unknown_positions=1,
        other_positions=2,
    )

    lines = shown([row, total(underlying="QQQ")], "underlying", width=200).splitlines()

    spy = next(line.split() for line in lines if line.startswith(" SPY"))
    assert spy == [
        *("SPY", "USD", "-1,234", "-1,234", "-1,234", "-*", "-1,234*", "4", "0"),
        *("1.2", "s"),
    ]
    assert (
        "* SPY USD: of 9 positions, these are missing: theta 4, vega 3 (1 without a tick, "
        "1 without a price of the underlying, 1 of a kind that no sum includes, "
        "1 unidentified)"
    ) in lines
    assert sum(line.startswith("*") for line in lines) == 1


def test_many_incomplete_rows_are_counted_and_each_currency_has_a_sum():
    rows = [total(underlying=f"U{n}", missing_vega=1) for n in range(12)]
    canada = total(underlying="RY:CAD", currency="CAD")

    text = shown([*rows, canada], "underlying", width=200)

    assert "* and 4 more rows with incomplete sums; --json has them all" in text
    [together] = [line for line in text.splitlines() if "together" in line]
    assert together.split()[:7] == [
        *("together", "USD", "-", "-14,814", "-", "-14,814", "-14,814*"),
    ]


def test_no_positions_and_no_strategy_have_words():
    assert shown([], "underlying").strip() == "No positions."
    assert "no strategy" in shown([total()], "strategy_tag")
    old = total(oldest_age_s=3 * 3600.0)
    assert "3 h" in shown([old])


def test_a_sum_is_as_old_as_its_oldest_value():
    carried = total(underlying="SPY", oldest_carried_age_s=90.0)

    lines = shown([carried, total(underlying="QQQ")], "underlying").splitlines()

    for name in ("SPY", "together"):
        assert [line.split()[-2:] for line in lines if name in line] == [["90.0", "s"]]


def test_positions_without_a_named_currency_are_counted():
    rows = [total(underlying=each, unnamed_currency=2) for each in ("SPY", "QQQ")]

    assert shown(rows, "underlying").splitlines()[-1] == (
        "4 positions count as USD: the broker names no currency"
    )
    assert "the broker names no currency" not in shown([total()])


def test_names_share_a_column_where_each_has_no_room_of_its_own():
    row = total(
        broker="ibkr",
        account_id="U7100002",
        underlying="/ESH27",
        expiration_bucket="31-90",
    )
    names = ("broker", "account_id", "underlying", "expiration_bucket")

    def column(width):
        """Return the first column as words."""
        lines = shown([row], *names, width=width).splitlines()
        return " ".join(line[:16].strip() for line in lines).split()

    assert "ibkr, U7100002, /ESH27, 31-90" in " ".join(column(80))
    wide = [line.split() for line in shown([row], *names, width=120).splitlines()]
    assert ["ibkr", "U7100002", "/ESH27", "31-90", "USD"] in [line[:5] for line in wide]


def test_a_terminal_that_is_too_narrow_for_a_table_has_every_digit():
    row = total(underlying="SPY", missing_vega=1, dollar_delta=-9_999_999.0)

    text = shown([row, total(underlying="QQQ")], "underlying", width=40)

    assert max(map(len, text.splitlines())) <= 40
    assert " ".join(text.split()).startswith(
        "SPY USD: delta -1,234, dollar delta -9,999,999, gamma -1,234, theta -1,234, "
        "vega -1,234*, missing 1, stale 0, age 1.2 s QQQ USD: delta"
    )
    assert "together USD: delta -, dollar delta -10.00M" in " ".join(text.split())
