"""The output of the demo: a live table in a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import msgspec
import trio
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.risk_table import Total, risk_table
from greeks_trio.monitoring.minute_line import minute_line
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.service import Running

_REFRESH_S: Final = 0.5
_PLAIN_LINE_S: Final = 5.0
# In plain output the risk comes with the first line, and then with every sixth.
_LINES_WITH_RISK: Final = 6
_GROUP_BY: Final = ("underlying",)
_STATUS_STYLES: Final = {
    "connected": "green",
    "degraded": "yellow",
    "connecting": "cyan",
    "disconnected": "red",
}


class Display:
    """The output of the demo.

    With ``as_json`` stdout gets one object first and one last; all other text goes to
    stderr.

    Attributes:
        totals: The risk by underlying, `None` until it was read.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(
            file=sys.stderr if as_json else sys.stdout,
            highlight=False,
            markup=False,  # data are never markup
        )
        self.totals: Sequence[Total] | None = None

    @property
    def shows_risk(self) -> bool:
        """Whether the totals are shown: programs get the same objects as ever."""
        return not self._as_json

    def started(self, dsn: str, about: str, running: Running) -> None:
        """Print the places of page, rows and status, and the deliberate imperfections.

        ``dsn`` has no password.
        """
        if self._as_json:
            _print_json({"dsn": dsn, "http": running.http_url})
        if running.http_url is not None:
            self._console.print(
                f"Look at the page:   {running.http_url}/", style="bold", soft_wrap=True
            )
        self._console.print(f'Look at the rows:   psql "{dsn}"', soft_wrap=True)
        if running.http_url is not None:
            self._console.print(
                f"Look at the status: {running.http_url}/v1/streaming/status",
                soft_wrap=True,
            )
        self._console.print(about, soft_wrap=True)
        if not self._as_json:
            self._console.print("Stop with Ctrl-C.")

    async def run(self, status: ServiceStatus) -> None:
        """Show the state of the service, until cancelled."""
        rate = _Rate()
        if not self._console.is_terminal or self._as_json:
            for number in count():
                await trio.sleep(_PLAIN_LINE_S)
                self._console.print(
                    f"{rate.update(status):.0f} rows/s {minute_line(Readings(status))}",
                    soft_wrap=True,
                )
                if number % _LINES_WITH_RISK == 0:
                    self._show_risk()
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                shown: list[RenderableType] = [_table(status, rate.update(status))]
                if self.totals is not None:
                    shown += [Text(), risk_table(self.totals, _GROUP_BY)]
                live.update(Group(*shown), refresh=True)
                await trio.sleep(_REFRESH_S)

    def comparing(self) -> None:
        """Say that the run is over and the comparison under way."""
        self._console.print(
            "Stopped. Comparing the sent ticks with the stored ones ..."
        )

    def result(self, result: dict[str, Any]) -> None:
        """Show the comparison."""
        if self._as_json:
            _print_json(result)
        self._console.print(_result_table(result))
        self._show_risk()

    def _show_risk(self) -> None:
        """Print the risk by underlying, as it was read last."""
        if self.totals is not None:
            self._console.print(Text("Risk by underlying", "italic"))
            self._console.print(risk_table(self.totals, _GROUP_BY))


class _Rate:
    """Rows per second since the last call."""

    def __init__(self) -> None:
        self._rows = 0
        self._at = trio.current_time()

    def update(self, status: ServiceStatus) -> float:
        rows = sum(status.tick_counts.persisted.values())
        now = trio.current_time()
        passed, new = now - self._at, rows - self._rows
        self._rows, self._at = rows, now
        return new / passed if passed else 0.0


def _table(status: ServiceStatus, rate: float) -> Group:
    writer = status.writer.statistics()
    processor = status.processor.statistics()
    feeds = Table(title="greeks_trio demo", title_justify="left")
    feeds.add_column("broker")
    for heading in ("session", "contracts", "received", "persisted", "duplicates"):
        feeds.add_column(heading, justify="right")
    for session in status.sessions():
        feeds.add_row(
            session.broker,
            Text(session.status, _STATUS_STYLES[session.status]),
            f"{session.subscription_count}",
            f"{processor.received.get(session.broker, 0):,}",
            f"{status.tick_counts.persisted.get(session.broker, 0):,}",
            f"{processor.duplicates.get(session.broker, 0):,}",
        )
    faults = (*status.readiness(), *status.warnings())
    lines = [Text(fault, "yellow") for fault in faults]
    lines += [Text(f"note: {note}") for note in status.notes()]
    window = status.tick_counts.latency_to_durable().window.milliseconds()
    database = "connected" if writer.is_connected else "not connected"
    return Group(
        feeds,
        *lines,
        Text(
            f"{rate:,.0f} rows/s   frame read to durable, last minute, ms: "
            f"{_percentiles(window)}"
        ),
        Text(
            f"database {database}   backlog {len(status.backlog):,}   spool "
            f"{status.spool.size().rows:,}"
        ),
    )


def _result_table(result: dict[str, Any]) -> Table:
    # Narrow enough for the whole headings in a terminal of 80 columns.
    table = Table(
        title="Sent and stored ticks",
        title_justify="left",
        box=SIMPLE,
        padding=0,
        collapse_padding=True,
    )
    table.add_column("")
    names = ("sent", "persisted", "lost", "duplicates", "unexpected", "quarantined")
    for name in names:
        table.add_column(name, justify="right")
    for broker, counts in result["brokers"].items():
        table.add_row(broker, *(f"{counts[name]:,}" for name in names))
    table.add_row("together", *(f"{result[name]:,}" for name in names), style="bold")
    table.caption = (
        f"first row after {_shown(result['first_row_s'])} s\n"
        f"frame read to commit, ms: {_percentiles(result['latency_ms'])}\n"
        f"sent to commit, ms: {_percentiles(result['age_ms'])}"
    )
    table.caption_justify = "left"
    return table


def _percentiles(values: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
