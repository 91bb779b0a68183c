"""``beta-weighted``: shows the deltas in shares of a benchmark, from a running service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeAlias

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.ask import ask_pages
from greeks_trio.commands.ask_and_show import ask_and_show
from greeks_trio.commands.foreign import plain

_LIMIT_S: Final = 10.0
_PATH: Final = "/v1/risk/beta-weighted"

# A row of beta_weighted.
Row: TypeAlias = Mapping[str, Any]

_REASONS: Final = {
    "dollar_delta": "no dollar delta",
    "currency": "another currency than the benchmark",
    "beta": "no beta is known",
    "benchmark_beta": "no beta of the benchmark is known",
    "benchmark_price": "no price of the benchmark is known; hold or watch an option on it",
}


async def run_beta_weighted(
    *, url: str | None, as_json: bool, params: Mapping[str, str]
) -> int:
    """Ask the service, print the deltas, and return the exit status.

    Args:
        url: The address of the service; without it, the configuration gives it.
        as_json: Print the rows of the service as one JSON object.
        params: The parameters of the request.

    Raises:
        ConfigError: the address of the service is not known.
    """

    def show(base: str, rows: Sequence[Row]) -> None:
        if as_json:
            click.echo(msgspec.json.encode({"url": base, "items": rows}).decode())
        else:
            show_beta_weighted(rows)

    return await ask_and_show(
        url,
        lambda base, http: ask_pages(base, http, _PATH, params, limit_s=_LIMIT_S),
        show,
    )


def show_beta_weighted(rows: Sequence[Row], *, console: Console | None = None) -> None:
    """Print a table, and a line for everything that the sum lacks."""
    console = Console(highlight=False, markup=False) if console is None else console
    if not rows:
        console.print("No positions.")
        return
    console.print(_table(rows))
    for line in _notes(rows):
        console.print(plain(line))


def _table(rows: Sequence[Row]) -> Table:
    benchmark, currency = rows[0]["benchmark"], rows[0]["benchmark_currency"]
    price = rows[0]["benchmark_price"]
    at = "" if price is None else f" at {price:,.2f}"
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=plain(f"Delta in shares of {benchmark}{at}, by underlying"),
        title_justify="left",
    )
    for heading in ("underlying", ""):
        table.add_column(heading)
    for heading in ("dollar\ndelta", "beta", "shares", currency):
        table.add_column(heading, justify="right")
    for heading in ("beta of", "source"):
        table.add_column(heading)
    for _, group in groupby(sorted(rows, key=_key), key=_key):
        table.add_row(*_cells(list(group)))
    known = [row for row in rows if row["beta_weighted_delta"] is not None]
    is_whole = not any(row["missing"] for row in rows)
    table.add_section()
    table.add_row(
        *(Text("together"), plain(currency or "-"), Text(), Text()),
        _sum(known, "beta_weighted_delta", is_whole=is_whole),
        _sum(known, "beta_weighted_dollar_delta", is_whole=is_whole),
        style="bold",
    )
    return table


def _key(row: Row) -> tuple[str, str]:
    return row["underlying"], row["currency"] or ""


def _cells(group: Sequence[Row]) -> Iterator[Text]:
    """Yield the cells of an underlying, summed over its accounts."""
    first = group[0]
    is_whole = not any(row["missing"] for row in group)
    known = [row for row in group if row["beta_weighted_delta"] is not None]
    yield plain(first["underlying"])
    yield plain(first["currency"] or "-")
    deltas = [row for row in group if row["dollar_delta"] is not None]
    yield _sum(deltas, "dollar_delta", is_whole="dollar_delta" not in _missing(group))
    yield Text("-" if first["beta"] is None else f"{first['beta']:.2f}")
    for name in ("beta_weighted_delta", "beta_weighted_dollar_delta"):
        yield _sum(known, name, is_whole=is_whole)
    yield plain(str(first["beta_date"] or "-"))
    yield plain(first["beta_source"] or "-")


def _missing(group: Sequence[Row]) -> set[str]:
    return {name for row in group for name in row["missing"]}


def _sum(rows: Sequence[Row], name: str, *, is_whole: bool) -> Text:
    """Return the sum with an asterisk if it lacks something."""
    if not rows:
        return Text("-")
    text = f"{sum(row[name] for row in rows):,.0f}"
    return Text(text) if is_whole else Text(text + "*", "yellow")


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in sorted(rows, key=_key):
        for name in row["missing"]:
            count = (
                row["missing_dollar_delta"]
                if name == "dollar_delta"
                else row["positions"]
            )
            yield (
                f"* {row['underlying']}, {row['broker']} {row['account_id']}:"
                f" {_REASONS.get(name, name)}, positions left out: {count}"
            )
    if stale := sum(row["stale"] for row in rows):
        yield f"{stale} positions with stale values"
