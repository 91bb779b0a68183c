"""The table of the command beta-weighted: sums over accounts, and the lack of each."""

from __future__ import annotations

import io

from rich.console import Console

from greeks_trio.commands.beta_weighted import show_beta_weighted


def row(underlying="AAPL", *, account_id="U1", delta=-23.0, missing=(), **changes):
    return {
        "broker": "ibkr",
        "account_id": account_id,
        "currency": "USD",
        "underlying": underlying,
        "benchmark": "SPY",
        "beta_weighted_delta": delta,
        "beta_weighted_dollar_delta": None if delta is None else 650 * delta,
        "dollar_delta": -10_000.0,
        "beta": 1.24,
        "beta_date": "2026-11-02",
        "beta_source": "file",
        "benchmark_price": 650.0,
        "benchmark_currency": "USD",
        "positions": 2,
        "missing_dollar_delta": 0,
        "missing": list(missing),
        "stale": 0,
        **changes,
    }


def shown(*rows, width=80):
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False)
    show_beta_weighted(rows, console=console)
    return file.getvalue()


def line_of(text, name):
    [line] = [each for each in text.splitlines() if each.split()[:1] == [name]]
    return line.split()


def test_the_accounts_of_an_underlying_are_one_line():
    text = shown(row(), row(account_id="U2", delta=100.0, stale=1), row("F", delta=1.0))

    assert line_of(text, "AAPL") == [
        *("AAPL", "USD", "-20,000", "1.24", "77", "50,050", "2026-11-02", "file")
    ]
    assert line_of(text, "together") == ["together", "USD", "78", "50,700"]
    assert "1 positions with stale values" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_position_without_a_beta_is_in_no_sum_and_named():
    text = shown(
        row(),
        row("SPX", delta=None, missing=["beta"], beta=None, beta_date=None),
        row("F", delta=5.0, missing=["dollar_delta"], missing_dollar_delta=1),
    )

    assert line_of(text, "SPX")[2:] == ["-10,000", "-", "-", "-", "-", "file"]
    assert line_of(text, "F")[4] == "5*"
    assert line_of(text, "together")[2:] == ["-18*", "-11,700*"]
    assert "* SPX, ibkr U1: no beta is known, positions left out: 2" in text
    assert "* F, ibkr U1: no dollar delta, positions left out: 1" in text


def test_no_positions_are_said():
    assert shown() == "No positions.\n"
