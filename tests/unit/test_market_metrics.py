"""Market metrics from Tastytrade and betas from a file: what is taken, and what is refused."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from greeks_trio.brokers.tastytrade.positions.market_metrics import (
    read_metrics,
    symbols_to_ask,
)
from greeks_trio.config.betas_file import FileBeta, load_betas, parse_betas
from greeks_trio.errors import ConfigError
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.model.market_metrics import FILE, MarketMetrics
from greeks_trio.monitoring.betas import Betas, inspect_betas
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.simulators.tastytrade.metrics import beta_of, metrics_shape
from tests.factories import START


def read(*items, asked=("AAPL",)):
    """Return (rows, problems) of an answer about these symbols."""
    raw = [msgspec.Raw(msgspec.json.encode(each)) for each in items]
    return read_metrics(raw, {each: [each] for each in asked}, START)


def test_the_real_form():
    # From the documents of the interface, shortened.
    item = {
        "symbol": "AAPL",
        "implied-volatility-index": "0.271234567",
        "implied-volatility-index-rank": "0.193",
        "implied-volatility-percentile": "0.42",
        "implied-volatility-updated-at": "2026-11-20T14:00:00.102Z",
        "beta": "1.214",
        "beta-updated-at": "2026-11-15T19:31:58.384-05:00",
        "market-cap": None,
    }
    [row], problems = read(item)

    assert problems == []
    assert row.beta == 1.214
    assert row.beta_date == date(2026, 11, 16)
    assert (row.iv_index, row.iv_rank, row.iv_percentile) == (0.271234567, 0.193, 0.42)
    assert f"{row.iv_updated_at}" == "2026-11-20 14:00:00.102000+00:00"
    assert (row.source, row.observed_at, row.problem) == ("tastytrade", START, None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "'NaN' is no number"),
        ("1.79769e308", "1.79769e+308 is not possible"),
        (-1e9, "-1e+09 is not possible"),
        ("Infinity", "inf is not possible"),
        ("several", "'several' is no number"),
        (["1.2"], "a list is no number"),
        (True, "a bool is no number"),
        (10**400, "a int is no number"),
    ],
)
def test_an_odd_beta_is_missing_and_costs_nothing_else(value, reason):
    item = {
        "symbol": "AAPL",
        "beta": value,
        "beta-updated-at": "2026-11-15T19:31:58.384-05:00",
        "implied-volatility-percentile": 0.5,
    }
    [row], problems = read(item)

    assert row.beta is None
    assert row.beta_date is None
    assert row.iv_percentile == 0.5
    assert row.problem == f"beta: {reason}"
    assert problems == [f"AAPL: beta: {reason}"]


def test_missing_values_and_odd_items():
    rows, problems = read(
        {"symbol": "AAPL", "beta": None, "implied-volatility-index-rank": ""},
        {"symbol": "MSFT", "beta": 1},
        {"beta": 1},
        [1, 2],
        {"symbol": "AAPL", "implied-volatility-percentile": 1.01},
    )

    assert rows[0] == MarketMetrics(
        symbol="AAPL", source="tastytrade", observed_at=START
    )
    assert problems == [
        *["an item has a symbol that was not asked for"] * 2,
        "an item is no object",
        "AAPL: iv_percentile: 1.01 is not possible",
    ]


def test_the_metrics_of_a_future_are_those_of_its_product():
    asked = symbols_to_ask(
        {"/ESZ6", "/ESH27", "BRK/B", "SPY", "ibkr:702", "tastytrade:x", "/6EZ6"}
    )
    assert asked == {
        "/ES": ["/ESH27", "/ESZ6"],
        "/6E": ["/6EZ6"],
        "BRK/B": ["BRK/B"],
        "SPY": ["SPY"],
    }
    shape = msgspec.Raw(msgspec.json.encode(metrics_shape("/ES")))
    rows, _ = read_metrics([shape], asked, START)
    assert [(each.symbol, each.beta) for each in rows] == [
        ("/ESH27", beta_of("/ES")),
        ("/ESZ6", beta_of("/ES")),
    ]


def test_a_file_of_betas():
    text = """
        [betas]
        aapl = { beta = 1.24, date = 2026-11-02 }
        "BRK B" = { beta = 0, date = 2026-01-02 }
        "/ESZ26" = { beta = 1, date = 2026-11-02 }
        "/es" = { beta = 1.5, date = 2026-11-02 }
    """
    assert parse_betas(text) == (
        (
            FileBeta("AAPL", 1.24, date(2026, 11, 2)),
            FileBeta("BRK/B", 0.0, date(2026, 1, 2)),
            FileBeta("/ESZ26", 1.0, date(2026, 11, 2)),
            FileBeta("/ES", 1.5, date(2026, 11, 2)),
        ),
        [],
    )
    assert parse_betas("") == ((), [])


def test_every_problem_of_a_file_at_once():
    found, problems = parse_betas(
        """
        benchmark = "SPY"
        [betas]
        F = { beta = nan, date = 2026-11-02 }
        QQQ = { beta = 21, date = 2026-11-02 }
        SPY = { beta = 1 }
        TSLA = { beta = 2, date = "yesterday" }
        NVDA = { beta = "2", date = 2026-11-02 }
        AMD = { beta = 2, date = 2026-11-02T12:00:00Z }
        AAPL = { beta = 1.2, date = 2026-11-02 }
        aapl = { beta = 1.3, date = 2026-11-02 }
        """
    )
    assert [each.symbol for each in found] == ["AAPL"]
    day = "the date has to be a day, such as 2026-11-02"
    assert problems == [
        "'benchmark' is not known; the file has one table, [betas]",
        "'F': the beta NaN is no number",
        "'QQQ': the beta 21 is not possible",
        "'SPY' needs beta and date, such as AAPL = { beta = 1.24, date = 2026-11-02 }",
        f"'TSLA': {day}",
        "'NVDA': the beta has to be a number without quotes",
        f"'AMD': {day}",
        "'aapl' is AAPL, which has a beta already",
    ]
    assert parse_betas("[betas")[1][0].startswith("it is not valid TOML: ")
    assert parse_betas("betas = 1")[1][0].startswith("betas is no table")


async def test_a_wrong_file_leaves_the_old_betas_in_force(tmp_path):
    file = tmp_path / "betas.toml"
    file.write_text("[betas]\nF = { beta = 1.5, date = 2026-11-02 }\n")
    board, conditions = MetricsBoard(), Conditions()
    betas = Betas(board, conditions, lambda: START)
    betas.reload(file)
    before = board.file()
    assert [(each.symbol, each.beta, each.source) for each in before] == [
        ("F", 1.5, FILE)
    ]
    [finding] = await inspect_betas(file)
    assert (finding.verdict, finding.sentence) == (
        "fine",
        "1 betas, the oldest of 2026-11-02",
    )

    file.write_text("[betas]\nF = 1\n")
    betas.reload(file)
    assert board.file() is before
    [sentence] = conditions.sentences(Severity.DEGRADED)
    assert "GREEKS_BETAS_FILE" in sentence
    [finding] = await inspect_betas(file)
    assert finding.verdict == "failed"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_betas(tmp_path / "nothing")

    # Without a file there are none.
    betas.reload(None)
    assert board.file() == ()
    assert conditions.sentences(Severity.DEGRADED) == []


def test_a_row_that_was_replaced_while_it_was_stored_still_waits():
    board = MetricsBoard("QQQ")
    old, new = (
        MarketMetrics(symbol="F", source="tastytrade", observed_at=START, beta=beta)
        for beta in (1.0, 2.0)
    )
    board.record([old])
    stored = board.waiting()
    board.record([new])
    board.stored(stored)
    assert board.waiting() == [new]

    board.want(["F"])
    assert board.wanted == {"F", "QQQ"}
    calls = board.wanted_changed.calls
    board.want(["QQQ"])
    assert board.wanted_changed.calls == calls
