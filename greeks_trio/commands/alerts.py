"""``alerts``: shows the limits with their states, or sends a sample to each channel."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click
import msgspec
import trio
from psycopg.rows import dict_row
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greeks_trio.alerts.channels import Channel, open_channels
from greeks_trio.alerts.messages import duration_text, time_text
from greeks_trio.alerts.rules import Rule, number_text
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.commands.foreign import plain
from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.config.settings import Config
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.waiting import utc_now

# apprise waits some seconds for each step of a connection.
_LIMIT_S: Final = 30.0
_STYLES: Final = {"ok": "green", "breached": "red", "unknown": "yellow", "new": "cyan"}
_SELECT: Final = "select * from alerts order by rule"
# A healthy service looks much more often than so many intervals.
_LATE_INTERVALS: Final = 6
_LEAST_LATE_S: Final = 30.0


async def show_alerts(config: Config, *, as_json: bool) -> int:
    """Print each rule with its state and return `OK`.

    Raises:
        ConfigError: the file with the rules has problems.
        StoreUnavailable: the database cannot be read.
    """
    rules = load_rules(config.alerts_file, config.alert_urls)
    async with open_connection(config.database, autocommit=True) as connection:
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            async with connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_SELECT)
                rows = await cursor.fetchall()
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return OK
    if not rules:
        click.echo(
            "GREEKS_ALERTS_FILE names no rules, so no limit is watched. "
            "alerts.example.toml shows some."
        )
    now = utc_now()
    names = {row["rule"] for row in rows}
    waiting = [each for each in rules if each.name not in names]
    if rows or waiting:
        Console(highlight=False, markup=False).print(_table(rows, waiting, now))
    for row in rows:
        if row["reason"]:
            click.echo(f"{row['rule']}: {row['reason']}")
        elif not row["positions"]:
            click.echo(f"{row['rule']}: no open position in its scope ({row['scope']})")
    if rows and (words := _lateness(rows, config, now)):
        click.echo(words)
    return OK


def _lateness(rows: Sequence[dict[str, Any]], config: Config, now: datetime) -> str:
    """Return a sentence if no service watches the limits; empty if one does."""
    last: datetime = max(row["evaluated_at"] for row in rows)
    age_s = (now - last).total_seconds()
    if age_s <= max(_LEAST_LATE_S, _LATE_INTERVALS * config.alerts_interval_s):
        return ""
    return (
        f"The limits were last watched {duration_text(age_s)} ago, at {time_text(last)}: "
        "is serve running, with GREEKS_ALERTS_FILE set?"
    )


def _table(
    rows: Sequence[dict[str, Any]], waiting: Sequence[Rule], now: datetime
) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("rule")
    table.add_column("state", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("limit")
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("last event")
    for row in rows:
        last = "-"
        if row["last_event"]:
            last = f"{row['last_event']} {_ago(row['last_event_at'], now)} ago"
        table.add_row(
            plain(row["rule"]),
            Text(row["state"], _STYLES[row["state"]]),
            Text("-" if row["value"] is None else number_text(row["value"])),
            plain(f"{row['figure']} ({row['scope']}) {row['threshold']}"),
            Text(_ago(row["since"], now)),
            Text(last),
        )
    for rule in waiting:
        table.add_row(
            plain(rule.name),
            Text("new", _STYLES["new"]),
            Text("-"),
            plain(f"{rule.subject} {rule.threshold}"),
            *(Text("-"), Text("-")),
        )
    return table


def _ago(moment: datetime, now: datetime) -> str:
    return duration_text(max(0.0, (now - moment).total_seconds()))


async def send_samples(config: Config) -> int:
    """Send a sample to each channel, print each outcome, and return the exit status.

    Raises:
        ConfigError: An address or a rule is wrong, or a package is missing.
    """
    channels = await trio.to_thread.run_sync(open_channels, config.alert_urls)
    load_rules(config.alerts_file, config.alert_urls)
    if not channels:
        click.echo("GREEKS_ALERT_URLS is empty: there is no channel to send to.")
        return FAILED
    outcomes: list[bool] = []
    async with trio.open_nursery() as nursery:
        for each in channels:
            nursery.start_soon(_send_sample, each, outcomes)
    return OK if all(outcomes) else FAILED


async def _send_sample(channel: Channel, outcomes: list[bool]) -> None:
    reason: str | None = f"no answer within {_LIMIT_S:.0f} s"
    title = f"greeks_trio on {platform.node()}: test"
    with trio.move_on_after(_LIMIT_S):
        reason = await trio.to_thread.run_sync(
            channel.deliver, title, "This is a test.", abandon_on_cancel=True
        )
    click.echo(f"{channel.shown}: {'sent' if reason is None else reason}")
    outcomes.append(reason is None)
