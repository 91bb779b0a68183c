"""Totals as a table for people: of the command ``risk``, and of the demo.

A sum that lacks positions has an asterisk.  A line below the table says how many it lacks,
and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.foreign import plain

# A row of risk_totals.
Total: TypeAlias = Mapping[str, Any]

_MARK: Final = "*"
# Lines about incomplete sums; --json has all of them.
_MOST_LINES: Final = 8
_HEADINGS: Final = {
    "broker": "broker",
    "account_id": "account",
    "underlying": "underlying",
    "expiration_bucket": "days",
    "strategy_tag": "strategy",
}
# A position without a value in the column is in this row.
_WITHOUT: Final = {"expiration_bucket": "no expiration", "strategy_tag": "no strategy"}
# Heading, name of the sum, name of its count of missing positions.
_UNITS: Final = (("delta", "net_delta", "missing_net_delta"),)
_MONEY: Final = (("dollar\ndelta", "dollar_delta", "missing_dollar_delta"),)
_GREEKS: Final = (
    ("theta", "theta", "missing_theta"),
    ("vega", "vega", "missing_vega"),
)
_GAMMA: Final = (("gamma", "gamma", "missing_gamma"),)
_DOLLAR_GAMMA: Final = (("dollar\ngamma", "dollar_gamma", "missing_dollar_gamma"),)
_VALUE: Final = (("value", "market_value", "missing_value"),)
_REASONS: Final = (
    ("missing_tick", "without a tick"),
    ("missing_multiplier", "without a multiplier"),
    ("missing_price_factor", "without a price factor"),
)
_IN_MILLIONS: Final = 1e7
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0


def risk_table(rows: Sequence[Total], group_by: Sequence[str]) -> RenderableType:
    """Return the table, and the lines about sums that are incomplete.

    Args:
        rows: The totals.
        group_by: The columns that they are grouped by; none for the whole book.
    """
    if not rows:
        return Text("No positions.")
    sums = _sums_of(group_by)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in group_by:
        # A name may take two lines; a number is never cut.
        table.add_column(_HEADINGS[name], overflow="fold")
    table.add_column("", no_wrap=True)
    for heading, *_ in sums:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("missing", "stale", "age"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        names = (plain(_name(row, name)) for name in group_by)
        table.add_row(*names, *_cells(row, sums))
    if group_by:
        _add_book(table, rows, group_by, sums)
    return Group(
        table, *(Text(line, "yellow") for line in _lines(rows, group_by, sums))
    )


def _sums_of(group_by: Sequence[str]) -> Sequence[tuple[str, str, str]]:
    """Return the sums to show: those in units only where there is one underlying."""
    if "underlying" in group_by:
        return (*_UNITS, *_MONEY, *_GAMMA, *_GREEKS)
    sums = (*_MONEY, *_DOLLAR_GAMMA, *_GREEKS)
    # Two columns of names leave no room for it in a terminal of 80 columns.
    return sums if len(group_by) > 1 else (*sums, *_VALUE)


def _add_book(
    table: Table,
    rows: Sequence[Total],
    group_by: Sequence[str],
    sums: Sequence[tuple[str, str, str]],
) -> None:
    """Add a row for each currency; units of several underlyings are not added."""
    table.add_section()
    for currency in sorted({row["currency"] for row in rows}):
        of_currency = [row for row in rows if row["currency"] == currency]
        if len(of_currency) == 1 and len(rows) > 1:
            continue  # its only row says the same
        book = _together(of_currency, sums)
        names = ["together"] + [""] * (len(group_by) - 1)
        table.add_row(*names, *_cells(book, sums), style="bold")


def _together(rows: Sequence[Total], sums: Iterable[tuple[str, str, str]]) -> Total:
    ages = [row["oldest_age_s"] for row in rows if row["oldest_age_s"] is not None]
    book: dict[str, Any] = {
        "currency": rows[0]["currency"],
        "oldest_age_s": max(ages, default=None),
        "stale": sum(row["stale"] for row in rows),
    }
    for _, name, missing in sums:
        known = [row[name] for row in rows if row[name] is not None]
        is_in_units = name in ("net_delta", "gamma") and len(rows) > 1
        book[missing] = 0 if is_in_units else sum(row[missing] for row in rows)
        book[name] = sum(known) if known and not is_in_units else None
    return book


def _cells(row: Total, sums: Sequence[tuple[str, str, str]]) -> Iterator[Text]:
    yield plain(row["currency"])
    for _, name, missing in sums:
        yield _cell(row[name], is_whole=not row[missing])
    lacking = max(row[missing] for *_, missing in sums)
    yield Text(str(lacking), "yellow" if lacking else "")
    yield Text(str(row["stale"]), "yellow" if row["stale"] else "")
    yield Text(_age(row["oldest_age_s"]))


def _cell(value: float | None, *, is_whole: bool) -> Text:
    text = "-" if value is None else _number(value)
    return Text(text) if is_whole else Text(text + _MARK, "yellow")


def _number(value: float) -> str:
    """Return four digits at least, and no decimals of a large number.

    Ten million and more are millions: a terminal has 80 columns.
    """
    if value == 0:
        return "0"
    if abs(value) >= _IN_MILLIONS:
        return f"{value / 1e6:,.2f}M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "-"
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if age_s >= 2 * unit_s:
            return f"{age_s / unit_s:.0f} {unit}"
    return f"{age_s:.1f} s"


def _name(row: Total, column: str) -> str:
    name = row[column]
    return _WITHOUT.get(column, "-") if name is None else str(name)


def _lines(
    rows: Sequence[Total],
    group_by: Sequence[str],
    sums: Sequence[tuple[str, str, str]],
) -> Iterator[str]:
    """Yield a line for each row with a sum that is incomplete."""
    incomplete = [row for row in rows if any(row[missing] for *_, missing in sums)]
    for row in incomplete[:_MOST_LINES]:
        lacking = ", ".join(
            f"{name.replace('_', ' ')} {row[missing]}"
            for _, name, missing in sums
            if row[missing]
        )
        names = " ".join(plain(_name(row, each)).plain for each in group_by)
        reasons = ", ".join(_reasons(row))
        yield (
            f"{_MARK} {names or 'book'} {row['currency']}: of {_positions(row)}, these "
            f"are missing: {lacking}" + (f" ({reasons})" if reasons else "")
        )
    more = len(incomplete) - _MOST_LINES
    if more > 0:
        yield f"{_MARK} and {more} more rows with incomplete sums; --json has them all"


def _positions(row: Total) -> str:
    number = row["positions"]
    return f"{number} position" + ("" if number == 1 else "s")


def _reasons(row: Total) -> Iterator[str]:
    """Yield the reasons; an unidentified position is in every other count too."""
    unknown = row["unknown_positions"]
    for name, words in _REASONS:
        if row[name] > unknown:
            yield f"{row[name] - unknown} {words}"
    without_price = row["missing_price"] - row["missing_tick"]
    if without_price > 0:
        yield f"{without_price} without a price of the underlying"
    if row["other_positions"] > unknown:
        yield f"{row['other_positions'] - unknown} of a kind that no sum includes"
    if unknown:
        yield f"{unknown} unidentified"
