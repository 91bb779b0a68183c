"""The health of a running fleet, as a table for people or as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import click
import msgspec
import trio
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.ask import (
    ANOTHER_PROGRAM,
    NoAnswer,
    check_answer,
    get,
    open_service,
    service_url,
)
from greeks_trio.commands.foreign import plain
from greeks_trio.config.settings import HttpConfig
from greeks_trio.fleet.routes import STATUS_PATH

_LIMIT_S: Final = 10.0
_STYLES: Final = {"healthy": "green", "degraded": "yellow", "down": "red"}
# As those of the command status.
_EXIT_STATUSES: Final = {"healthy": 0, "degraded": 1, "down": 2}
_HEADINGS: Final = (
    "service",
    "health",
    "brokers",
    "ticks/s",
    "newest tick",
    "restarts",
)


async def run_fleet_status(http: HttpConfig, *, as_json: bool) -> int:
    """Print the health of the fleet, and return the exit status for it."""
    base = service_url(http)
    try:
        async with open_service(base, http, _LIMIT_S) as client:
            with trio.fail_after(_LIMIT_S):
                answer, content = await get(client, STATUS_PATH)
        check_answer(answer, http)
    except NoAnswer as exc:
        if as_json:
            click.echo(msgspec.json.encode({"verdict": "down", "problem": str(exc)}))
        else:
            click.echo(f"the fleet at {base} is down\n  - {exc}")
        return _EXIT_STATUSES["down"]
    return show_fleet(base, content, as_json=as_json)


async def ask_fleet(base: str, http: HttpConfig | None, limit_s: float) -> bytes | None:
    """Return the status of a fleet; `None` if the program at the address is none."""
    try:
        async with open_service(base, http, limit_s) as client:
            with trio.fail_after(limit_s):
                answer, content = await get(client, STATUS_PATH)
    except NoAnswer:
        return None
    is_of_fleet = answer.status_code == HTTPStatus.OK and b'"services"' in content
    return content if is_of_fleet else None


def show_fleet(base: str, content: bytes, *, as_json: bool) -> int:
    """Print the status of a fleet, and return the exit status for it.

    Raises:
        NoAnswer: it is the answer of another program.
    """
    try:
        status = msgspec.json.decode(content, type=dict[str, Any])
        summary, services = status["summary"], status["services"]
        health = summary["health"]
        exit_status = _EXIT_STATUSES[health]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise NoAnswer(ANOTHER_PROGRAM) from None
    if as_json:
        click.echo(msgspec.json.encode({"verdict": health, **status}).decode())
        return exit_status
    console = Console(highlight=False, markup=False)
    console.print(
        Text.assemble(
            f"the fleet at {base} is ",
            (health, f"bold {_STYLES[health]}"),
            f": {summary['ready']} of {summary['services']} services are ready",
        )
    )
    for name, each in services.items():
        for sentence in (*each["problems"], *each["warnings"]):
            # A long sentence continues under its own beginning.
            line = Table.grid(padding=(0, 1))
            line.add_row(Text("  -"), plain(f"{name}: {sentence}"))
            console.print(line)
    console.print(_table(services))
    pages = Table.grid(padding=(0, 2))
    for name, each in services.items():
        pages.add_row(Text(name, "bold"), plain(each["url"]))
    console.print(Padding(pages, (0, 1), expand=False))
    return exit_status


def _table(services: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=heading in ("service", "health"))
    for name, each in services.items():
        brokers = ", ".join(
            f"{session['broker']} {session['status']}" for session in each["sessions"]
        )
        is_silent = each["no_answer_since"] is not None
        cells = (
            f"{brokers} (old)" if is_silent and brokers else brokers or "-",
            _number(each["ticks_per_second"], ""),
            _number(each["newest_tick_age_s"], " s ago"),
            str(each["restarts"]),
        )
        health = Text(each["health"], _STYLES.get(each["health"], ""))
        table.add_row(Text(name), health, *map(plain, cells))
    return table


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.1f}{unit}"
