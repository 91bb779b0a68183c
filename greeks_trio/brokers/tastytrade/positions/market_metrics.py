"""The market metrics of underlyings in the answers of the REST interface.  Pure.

Source: https://developer.tastytrade.com, "Market Metrics"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec

from greeks_trio.foreign_text import clean
from greeks_trio.model.account_values import moment_of_text
from greeks_trio.model.market_metrics import MarketMetrics, parse_metric

_SOURCE: Final = "tastytrade"
_KEYS: Final = {
    "beta": "beta",
    "iv_index": "implied-volatility-index",
    "iv_rank": "implied-volatility-index-rank",
    "iv_percentile": "implied-volatility-percentile",
}
# The metrics of a future are those of its product.
_FUTURE: Final = re.compile("(/[A-Z0-9]+?)[FGHJKMNQUVXZ][0-9]{1,2}")
_SYMBOL: Final = re.compile("/?[A-Z0-9][A-Z0-9./]{0,19}")
_LONGEST_PROBLEM: Final = 400


def symbols_to_ask(underlyings: Iterable[str]) -> dict[str, list[str]]:
    """Return the symbols to ask for, each with the underlyings that it stands for.

    An underlying that has no symbol at Tastytrade, such as one with a broker's own id, is
    left out.
    """
    asked: dict[str, list[str]] = {}
    for key in sorted(underlyings):
        future = _FUTURE.fullmatch(key)
        symbol = future[1] if future else key
        if _SYMBOL.fullmatch(symbol):
            asked.setdefault(symbol, []).append(key)
    return asked


def read_metrics(
    items: Sequence[msgspec.Raw], asked: Mapping[str, Sequence[str]], at: datetime
) -> tuple[list[MarketMetrics], list[str]]:
    """Return the rows of an answer, and a sentence for each item that cannot be read.

    Args:
        items: The items of the answer.
        asked: The underlyings of each symbol that was asked for.
        at: Our clock when it was read.
    """
    rows: list[MarketMetrics] = []
    problems: list[str] = []
    for item in items:
        try:
            sent = msgspec.json.decode(item, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            problems.append("an item is no object")
            continue
        symbol = sent.get("symbol")
        if not isinstance(symbol, str) or symbol not in asked:
            problems.append("an item has a symbol that was not asked for")
            continue
        values = _values(sent)
        rows += [
            MarketMetrics(symbol=key, source=_SOURCE, observed_at=at, **values)
            for key in asked[symbol]
        ]
        if values["problem"]:
            problems.append(f"{symbol}: {values['problem']}")
    return rows, problems


def _values(sent: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    odd: list[str] = []
    for name, key in _KEYS.items():
        if (value := sent.get(key)) is None or value == "":
            continue
        try:
            values[name] = parse_metric(name, value)
        except ValueError as exc:
            odd.append(f"{name}: {exc}")
    if "beta" in values:
        values["beta_date"] = _day(sent.get("beta-updated-at"))
    values["iv_updated_at"] = moment_of_text(sent.get("implied-volatility-updated-at"))
    values["problem"] = clean("; ".join(odd), limit=_LONGEST_PROBLEM) or None
    return values


def _day(value: object) -> date | None:
    moment = moment_of_text(value)
    return moment.date() if moment is not None else None
