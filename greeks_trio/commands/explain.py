"""``explain``: the profit or loss between two moments, as a waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.ask_and_show import ask_worker
from greeks_trio.commands.foreign import plain

_PATH: Final = "/v1/risk/explain"
_MAX_NAMED: Final = 10
_THOUSAND, _MILLION = 1_000, 1_000_000

_WATERFALL: Final = (
    ("start value", "start_value"),
    ("delta", "delta"),
    ("gamma", "gamma"),
    ("theta", "theta"),
    ("vega", "vega"),
    ("rho", "rho"),
    ("vanna", "vanna"),
    ("vomma", "vomma"),
    ("charm", "charm"),
    ("trading", "trading"),
    ("residual", "residual"),
    ("= profit or loss", "profit_loss"),
    ("trades", "trades"),
    ("end value", "end_value"),
)
_SUMS: Final = ("start_value", "profit_loss", "trades", "end_value")
# The heading of each column, and the parts in it.
_GROUP_COLUMNS: Final = {
    "P/L": ("profit_loss",),
    "delta": ("delta",),
    "gamma": ("gamma",),
    "theta": ("theta",),
    "vega": ("vega",),
    "2nd": ("vanna", "vomma", "charm"),
    "trading": ("trading",),
    "residual": ("residual",),
}
# Columns that are there only if they are not empty.
_RARE: Final = ("trading",)
# Counts that limit the answer, with their words.
_LIMITS: Final = {
    "unnamed_currency": "positions count as USD: the broker names no currency",
    "missing_delta": "positions with a step without delta: it is in the residual",
    "missing_gamma": "positions with a step without gamma: it is in the residual",
    "missing_theta": "positions with a step without theta: it is in the residual",
    "missing_vega": "positions with a step without vega: it is in the residual",
    "missing_second_order": "positions with a step without vanna, vomma and charm",
    "without_tick": "positions without a new price after the start",
    "trades_at_mark": "changes of quantity at the next mark: no recorded trades fit",
    "splits": "splits of shares: no money moves",
    "expired": "positions expired, at the last mark",
    "from_first_price": "positions without a price before; they count from their first one",
    "first_seen": "positions of the first reading of an account, opened at the next mark",
    "unused_trades": "recorded trades that fit no change of quantity",
}


async def run_explain(
    *, url: str | None, as_json: bool, params: Mapping[str, str]
) -> int:
    """Ask the service, print the waterfall, and return the exit status; see `ask_worker`."""
    return await ask_worker(_PATH, show, url=url, as_json=as_json, params=params)


def show(answer: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print the answer of the service as tables.

    There is no colour where there is no terminal.
    """
    console = Console(highlight=False, markup=False) if console is None else console
    start, end = (_clock(answer[name]) for name in ("start", "end"))
    console.print(plain(f"From {start} to {end}, in steps of {answer['step_s']:.4g} s"))
    for total in answer["totals"]:
        console.print(_waterfall(total))
    if answer["groups"]:
        console.print(_groups(answer))
    for line in _notes(answer):
        console.print(plain(line))


def _waterfall(total: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(plain(total["currency"]), no_wrap=True)
    table.add_column("", justify="right")
    for words, name in _WATERFALL:
        style = "bold" if name in _SUMS else ""
        table.add_row(Text(words, style), _money(total[name], is_sum=name in _SUMS))
    return table


def _groups(answer: Mapping[str, Any]) -> Table:
    """Return a line for each group, in whole units of the currency, or in thousands.

    With amounts in millions there would be no room for the names in 80 columns.
    """
    rows = answer["groups"]
    known = [_sum(row, names) or 0 for row in rows for names in _GROUP_COLUMNS.values()]
    unit = _THOUSAND if max(map(abs, known), default=0) >= _MILLION else 1
    heading = f"{answer['group_by']}{' (in 1,000)' if unit > 1 else ''}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column(plain(heading), overflow="fold", min_width=12)
    columns = {
        heading: names
        for heading, names in _GROUP_COLUMNS.items()
        if heading not in _RARE or any(_sum(row, names) for row in rows)
    }
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    has_one_currency = len(answer["totals"]) == 1
    for row in rows:
        words = " ".join(str(value or "-") for value in row["group"].values())
        sums = [_sum(row, names) for names in columns.values()]
        amounts = [None if each is None else each / unit for each in sums]
        table.add_row(
            plain(words if has_one_currency else f"{words} {row['currency']}"),
            *(_money(amount, digits=0) for amount in amounts),
        )
    return table


def _sum(row: Mapping[str, Any], names: Sequence[str]) -> float | None:
    known = [row[name] for name in names if row[name] is not None]
    return sum(known) if known else None


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything that limits the answer."""
    for total in answer["totals"]:
        yield (
            f"{total['currency']}: {total['contracts']:,} positions,"
            f" {total['steps']:,} steps"
        )
        for name, words in _LIMITS.items():
            if total[name]:
                yield f"  {total[name]:,} {words}"
        if total["gap_steps"]:
            yield (
                f"  {total['gap_steps']:,} steps over an outage; their profit or loss:"
                f" {total['gap_change']:,.2f}"
            )
    for each in answer["left_out"][:_MAX_NAMED]:
        yield (
            f"Left out: {each['broker']} {each['account_id']} {each['contract_key']}:"
            f" {each['reason']}"
        )
    if (more := answer["left_out_count"] - _MAX_NAMED) > 0:
        yield f"  and {more:,} more; --json names up to 200"
    for outage in answer["outages"][:_MAX_NAMED]:
        ended = "now" if outage["ended_at"] is None else _clock(outage["ended_at"])
        scope = outage["contract_key"] or outage["account_id"] or "all contracts"
        yield (
            f"Outage: {outage['broker']}, {scope}, {_clock(outage['started_at'])} to"
            f" {ended}: {', '.join(outage['reasons'])}"
        )
    if (more := len(answer["outages"]) - _MAX_NAMED) > 0:
        yield f"  and {more:,} more; --json names up to 200"
    yield from answer["notes"]


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _money(value: float | None, *, is_sum: bool = False, digits: int = 2) -> Text:
    if value is None:
        return Text("not known")
    amount = round(value, digits) + 0.0  # no minus before zero
    if is_sum:
        return Text(f"{amount:,.{digits}f}", "bold")
    style = "red" if amount < 0 else "green" if amount > 0 else ""
    return Text(f"{amount:+,.{digits}f}" if amount else "0", style)
