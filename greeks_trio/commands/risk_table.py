"""Totals as a table for people: of the command ``risk``, and of the demo.

A sum that lacks positions has an asterisk.  A line below the table says how many it lacks,
and why.  A number is never cut: in a narrow terminal the names fold, and where they have no
room, each row is a line of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
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
    "expiration": "expiration",
    "expiration_bucket": "days",
    "strategy_tag": "strategy",
}
# A position without a value in the column is in this row.
_WITHOUT: Final = {
    "expiration": "no expiration",
    "expiration_bucket": "no expiration",
    "strategy_tag": "no strategy",
}
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
# A sum is as old as its oldest value, also if that is carried from an older tick.
_AGES: Final = ("oldest_age_s", "oldest_carried_age_s")
# A column of names folds to this width.
_NAME: Final = 8
_UNLIMITED: Final = 1000
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
    lines = [_line(row, group_by, sums) for row in rows]
    if group_by:
        lines += _book_lines(rows, group_by, sums)
    notes = [*_lines(rows, group_by, sums), *_currency_notes(rows)]
    headings = [*(heading for heading, *_ in sums), "missing", "stale", "age"]
    return _Layout([_HEADINGS[name] for name in group_by], headings, lines, notes)


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the table: its names, and its currency with the numbers."""

    names: Sequence[Text]
    cells: Sequence[Text]
    is_sum: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """The totals, in the widest form that has room."""

    names: Sequence[str]
    headings: Sequence[str]
    lines: Sequence[_Line]
    notes: Sequence[str]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield the table or the lines, then the notes."""
        wide = options.update(width=_UNLIMITED)
        numbers = Measurement.get(console, wide, self._table([])).maximum
        room = options.max_width - numbers
        longest = [
            max(line.names[n].cell_len for line in self.lines)
            for n in range(len(self.names))
        ]
        if sum(min(width, _NAME) + 1 for width in longest) <= room:
            yield self._table(self.names)
        elif room > _NAME:
            yield self._table([", ".join(self.names)])
        else:
            yield from self._texts()
        yield from (Text(note, "yellow") for note in self.notes)

    def _table(self, names: Sequence[str]) -> Table:
        """Return the table with these columns of names: all, one for all, or none."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        for name in names:
            table.add_column(name, overflow="fold")
        table.add_column("", no_wrap=True)
        for heading in self.headings:
            table.add_column(heading, justify="right", no_wrap=True)
        was_sum = False
        for line in self.lines:
            if line.is_sum and not was_sum:
                table.add_section()
            was_sum = line.is_sum
            shown = line.names if len(names) == len(line.names) else [_joined(line)]
            table.add_row(
                *shown[: len(names)], *line.cells, style="bold" if was_sum else ""
            )
        return table

    def _texts(self) -> Iterator[Text]:
        """Yield a line of text for each row."""
        for line in self.lines:
            currency, *cells = line.cells
            names = [_joined(line), currency] if line.names else [currency]
            text = Text(" ").join(names).append(": ")
            for heading, cell in zip(self.headings, cells, strict=True):
                text.append(f"{heading} ".replace("\n", " ")).append_text(cell)
                text.append(", ")
            text.right_crop(2)
            yield text


def _joined(line: _Line) -> Text:
    return Text(", ").join(name for name in line.names if name)


def _sums_of(group_by: Sequence[str]) -> Sequence[tuple[str, str, str]]:
    """Return the sums to show: those in units only where there is one underlying."""
    if "underlying" in group_by:
        return (*_UNITS, *_MONEY, *_GAMMA, *_GREEKS)
    sums = (*_MONEY, *_DOLLAR_GAMMA, *_GREEKS)
    # Two columns of names leave no room for it in a terminal of 80 columns.
    return sums if len(group_by) > 1 else (*sums, *_VALUE)


def _line(
    row: Total, group_by: Sequence[str], sums: Sequence[tuple[str, str, str]]
) -> _Line:
    names = [plain(_name(row, each)) for each in group_by]
    return _Line(names, list(_cells(row, sums)))


def _book_lines(
    rows: Sequence[Total],
    group_by: Sequence[str],
    sums: Sequence[tuple[str, str, str]],
) -> Iterator[_Line]:
    """Yield a row for each currency; units of several underlyings are not added."""
    names = [Text("together"), *(Text() for _ in group_by[1:])]
    for currency in sorted({row["currency"] for row in rows}):
        of_currency = [row for row in rows if row["currency"] == currency]
        if len(of_currency) == 1 and len(rows) > 1:
            continue  # its only row says the same
        book = _together(of_currency, sums)
        yield _Line(names, list(_cells(book, sums)), is_sum=True)


def _together(rows: Sequence[Total], sums: Iterable[tuple[str, str, str]]) -> Total:
    book: dict[str, Any] = {
        "currency": rows[0]["currency"],
        **{name: _oldest(row[name] for row in rows) for name in _AGES},
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
    yield Text(_age(_oldest(row[name] for name in _AGES)))


def _oldest(ages: Iterable[float | None]) -> float | None:
    return max((age for age in ages if age is not None), default=None)


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


def _currency_notes(rows: Sequence[Total]) -> Iterator[str]:
    unnamed = sum(row["unnamed_currency"] for row in rows)
    if unnamed:
        yield f"{unnamed} positions count as USD: the broker names no currency"


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
