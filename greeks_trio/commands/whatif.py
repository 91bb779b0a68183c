"""``whatif``: profit and loss after moves of prices, volatilities and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.ask_and_show import ask_worker
from greeks_trio.commands.foreign import plain

_PATH: Final = "/v1/risk/scenarios"

# Of a column with whole numbers, of one with two digits, and of the first one.
_FULL_WIDTH: Final = 11
_BRIEF_WIDTH: Final = 6
_FIRST_WIDTH: Final = 14
_FROM: Final = 0.9995
_UNITS: Final = {1e9: "G", 1e6: "M", 1e3: "k"}

# Below the profits, for the shift of volatility that is nearest to 0.
_ROWS: Final = {
    "taylor P/L": "taylor_profit_loss",
    "$ delta": "dollar_delta",
    "delta": "delta",
    "gamma": "gamma",
    "theta": "theta",
    "vega": "vega",
    "rho": "rho",
}


async def run_whatif(
    *, url: str | None, as_json: bool, params: Mapping[str, str]
) -> int:
    """Ask the service, print the grids, and return the exit status; see `ask_worker`."""
    return await ask_worker(_PATH, show, url=url, as_json=as_json, params=params)


def show(answer: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print the answer of the service as tables.

    There is no colour where there is no terminal.
    """
    console = Console(highlight=False, markup=False) if console is None else console
    # A line that is too long is wrapped by the terminal; a number that is cut is wrong.
    needed = _FIRST_WIDTH + _BRIEF_WIDTH * len(answer["moves"])
    console.width = max(console.width, needed)
    is_brief = console.width < _FIRST_WIDTH + _FULL_WIDTH * len(answer["moves"])
    console.print(
        plain(f"Model values as of {answer['as_of']}, rate {answer['rate']:g}")
    )
    by = answer["group_by"]
    for total in answer["totals"]:
        # The notes say how many positions are left out.
        for grid in total["grids"] if total["underlyings"] else ():
            console.print(_profits(answer, total, grid, is_brief=is_brief))
            console.print(_greeks(answer, grid, is_brief=is_brief))
    for number, days in enumerate(answer["days"]):
        if answer["groups"]:
            console.print(_groups(answer, by, number, days, is_brief=is_brief))
    for line in _notes(answer):
        console.print(plain(line))


def _table(title: str, first: str, answer: Mapping[str, Any]) -> Table:
    """Return a table with a column for each move."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        # Eleven moves fit into the 80 columns of a terminal.
        padding=0,
        title=plain(title),
        title_justify="left",
    )
    table.add_column(first, overflow="fold", min_width=12)
    sign = "%" if answer["move_unit"] == "percent" else "sd"
    for move in answer["moves"]:
        heading = f"{move:+g}{sign}" if move else f"0{sign}"
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    return table


def _profits(
    answer: Mapping[str, Any],
    total: Mapping[str, Any],
    grid: Mapping[str, Any],
    *,
    is_brief: bool,
) -> Table:
    currency = total["currency"] or "currency not known"
    unit = "points" if answer["vol_unit"] == "points" else "%"
    title = f"P/L, {currency}{_in_days(grid['days'])}, by shift of volatility in {unit}"
    table = _table(title, "", answer)
    for shift, row in zip(answer["vols"], grid["profit_loss"], strict=True):
        table.add_row(_shift(shift), *(_money(each, is_brief=is_brief) for each in row))
    return table


def _greeks(
    answer: Mapping[str, Any], grid: Mapping[str, Any], *, is_brief: bool
) -> Table:
    shifts = answer["vols"]
    nearest = min(range(len(shifts)), key=lambda place: abs(shifts[place]))
    title = f"Greeks at the volatility {_shift(shifts[nearest])}"
    table = _table(title, "", answer)
    for heading, name in _ROWS.items():
        number = _brief if is_brief else _plain_number
        cells = grid[name][nearest]
        if any(each is not None for each in cells):
            table.add_row(heading, *map(number, cells))
    return table


def _groups(
    answer: Mapping[str, Any], by: str, number: int, days: float, *, is_brief: bool
) -> Table:
    shifts = answer["vols"]
    nearest = min(range(len(shifts)), key=lambda place: abs(shifts[place]))
    at = _shift(shifts[nearest])
    title = f"P/L by {by} at the volatility {at}{_in_days(days)}"
    table = _table(title, by, answer)
    for group in answer["groups"]:
        name = f"{group[by] or '-'} ({group['currency'] or 'currency not known'})"
        profits = group["grids"][number]["profit_loss"][nearest]
        cells = (_money(each, is_brief=is_brief) for each in profits)
        lost = f", {group['left_out']:,} left out" if group["left_out"] else ""
        table.add_row(plain(name + lost), *cells)
    return table


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything that the sums lack or take for granted."""
    if not answer["totals"]:
        yield "No open position fits the filters."
    for total in answer["totals"]:
        currency = total["currency"] or "currency not known"
        yield (
            f"{currency}: {total['contracts']} options, {total['shares_futures']} shares and"
            f" futures; model value {_money_text(total['model_value'])}, by the broker's"
            f" prices {_money_text(total['market_value'])}"
        )
        for name, words in (
            ("left_out", "in no sum, see below"),
            ("stale", "with stale data"),
            ("estimated", "with a volatility that is implied from the price"),
            ("unnamed_currency", "count as USD, because the broker names no currency"),
            ("without_mark", "without a price from the broker"),
            ("far_from_mark", "with a model price far from the broker's"),
        ):
            if total[name]:
                yield f"  {total[name]:,} {words}"
        for grid in total["grids"]:
            if grid["expired"]:
                yield f"  {grid['expired']:,} expired{_in_days(grid['days'])}"
        if total["underlyings"] > 1:
            yield "  no delta and gamma: several underlyings have no common unit"
    if answer["unused"]:
        yield f"No position has {', '.join(answer['unused'])}"
    for reason, count in answer["left_out"]["reasons"].items():
        yield f"Left out, {count}: {reason}"
    for position in answer["left_out"]["positions"][:10]:
        yield (
            f"  {position['broker']} {position['account_id']} {position['contract_key']}:"
            f" {position['reason']}"
        )
    more = answer["left_out"]["count"] - 10
    if more > 0:
        yield f"  and {more} more; --json names up to 200"


def _shift(shift: float) -> str:
    return f"{shift:+g}" if shift else "0"


def _in_days(days: float) -> str:
    return f" in {days:g} {'day' if days == 1 else 'days'}" if days else ""


def _money(value: float | None, *, is_brief: bool) -> Text:
    if value is None:
        return Text("-")
    style = "red" if value <= -0.5 else "green" if value >= 0.5 else ""
    return Text(_brief(value) if is_brief else _money_text(value), style)


def _brief(value: float | None) -> str:
    """Return two digits at least, in five characters."""
    if value is None:
        return "-"
    for unit, letter in _UNITS.items():
        if abs(value) >= _FROM * unit:
            return f"{value / unit:.{0 if abs(value) >= 9.95 * unit else 1}f}{letter}"
    return f"{value:.0f}" if abs(value) >= 9.95 or value == 0 else f"{value:.1f}"


def _money_text(value: float | None) -> str:
    return "-" if value is None else f"{round(value) + 0:,}"


def _plain_number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def params_of(options: Mapping[str, Any], **named: Sequence[str]) -> dict[str, str]:
    """Return the parameters of the request.

    Args:
        options: The options of the command with one value.
        named: Options with texts like ``QQQ=1.2``.
    """
    params = {name: str(value) for name, value in options.items() if value is not None}
    for name, texts in named.items():
        if texts:
            params[name] = ",".join(each.replace("=", ":") for each in texts)
    return params
