"""The health and the figures of a service, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.foreign import plain
from greeks_trio.commands.status_answer import StatusAnswer
from greeks_trio.commands.status_health import HealthReport
from greeks_trio.model.records import StreamSession
from greeks_trio.monitoring.figures.table import Figures

_HEALTH_STYLES: Final = {"healthy": "green", "degraded": "yellow", "down": "red"}
_SESSION_STYLES: Final = {
    "connected": "green",
    "degraded": "yellow",
    "connecting": "cyan",
    "disconnected": "red",
}
_MIB: Final = 1024**2


def show(
    url: str,
    report: HealthReport,
    status: StatusAnswer | None = None,
    now: datetime | None = None,
    *,
    console: Console | None = None,
) -> None:
    """Print the health, the problems, and the table when the service has answered.

    There is no colour where there is no terminal.

    Args:
        url: The address of the service.
        report: The health of the service.
        status: The answer of the service, `None` without one.
        now: The service's clock at its answer.
        console: Prints; the default prints to stdout.
    """
    console = Console(highlight=False, markup=False) if console is None else console
    console.print(
        Text.assemble(
            f"greeks_trio at {url} is ",
            (report.health, f"bold {_HEALTH_STYLES[report.health]}"),
        )
    )
    for problem in report.problems:
        # A long problem continues under its own beginning.
        line = Table.grid(padding=(0, 1))
        line.add_row(Text("  -"), plain(problem))
        console.print(line)
    if status is not None and now is not None:
        console.print(_sessions(status, now))
        facts = Table.grid(padding=(0, 2))
        facts.add_column(no_wrap=True)
        for name, text in _facts(status, report, now):
            facts.add_row(Text(name, "bold"), plain(text))
        console.print(Padding(facts, (0, 1), expand=False))


def _sessions(status: StatusAnswer, now: datetime) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("broker", "session"):
        table.add_column(heading, no_wrap=True)
    for heading in ("last message", "contracts", "stale", "reconnects"):
        table.add_column(heading, justify="right", no_wrap=True)
    for session in status.sessions:
        table.add_row(*_row(session, status, now))
    return table


def _row(session: StreamSession, status: StatusAnswer, now: datetime) -> Iterator[Text]:
    broker = session.broker
    subscribed, wanted, reconnects = (
        status.counts(each).get(broker)
        for each in (
            Figures.subscription_count,
            Figures.subscriptions_wanted,
            Figures.feed_reconnects,
        )
    )
    has_both = subscribed is not None and wanted is not None
    yield Text(broker)
    yield Text(session.status, _SESSION_STYLES[session.status])
    yield Text(_ago(session.last_message_at, now))
    yield Text(f"{subscribed:,} of {wanted:,}" if has_both else "-")
    yield Text(f"{status.counts(Figures.contracts_stale).get(broker, 0):,}")
    yield Text("-" if reconnects is None else f"{reconnects:,}")


def _facts(
    status: StatusAnswer, report: HealthReport, now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each line below the sessions."""
    for session in status.sessions:
        error = session.last_error
        shown = (*report.problems, *report.notes)
        if error and not any(sentence.endswith(error) for sentence in shown):
            yield session.broker, f"last error: {error}"
    for note in report.notes:
        yield "note", note
    yield "latency", _latency(status)
    if status.flag(Figures.database_connected):
        address = status.text(Figures.database_address)
        where = (address or "").partition("?")[0]
        yield "database", f"connected: {where}" if where else "connected"
    else:
        error = status.text(Figures.database_last_error)
        yield "database", f"not connected: {error or 'not yet'}"
    if status.count(Figures.storage_database_bytes):
        yield "storage", _storage(status)
    yield "spool", _spool(status, now)
    refused = status.count(Figures.quarantine_waiting)
    yield "quarantine", "1 row" if refused == 1 else f"{refused:,} rows"
    yield "lost", f"{status.count(Figures.ticks_lost):,} ticks since the start"
    yield "memory", _memory(status)
    for text in _stale(status):
        yield "stale", text


def _memory(status: StatusAnswer) -> str:
    resident, backlog, most = (
        status.count(each) / _MIB
        for each in (
            Figures.process_resident_memory_bytes,
            Figures.backlog_bytes,
            Figures.backlog_max_bytes,
        )
    )
    return f"{resident:,.0f} MiB; backlog {backlog:,.1f} of {most:,.0f}"


def _storage(status: StatusAnswer) -> str:
    size = status.count(Figures.storage_database_bytes) / 1e9
    text = f"{size:,.2f} GB, {status.count(Figures.storage_months)} months"
    if oldest := status.moment(Figures.storage_oldest_month):
        text += f" from {oldest:%Y-%m}"
    if growth := status.number(Figures.storage_growth_per_day_bytes):
        text += f", {growth / 1e6:,.1f} MB a day"
    if archived := status.count(Figures.storage_archived_months):
        text += f", {archived} in files"
    free = status.counts(Figures.storage_disk_free_bytes)
    disks = ", ".join(f"{name} {room / 1e9:,.0f} GB" for name, room in free.items())
    return f"{text}; free: {disks}" if disks else text


def _spool(status: StatusAnswer, now: datetime) -> str:
    rows = status.count(Figures.spool_rows)
    if not rows:
        return "empty"
    size = status.count(Figures.spool_bytes) / _MIB
    oldest = _ago(status.moment(Figures.spool_oldest), now)
    replaying = ", being replayed" if status.flag(Figures.spool_replaying) else ""
    return f"{rows:,} ticks, {size:,.1f} MiB, the oldest {oldest} old{replaying}"


def _stale(status: StatusAnswer) -> Iterator[str]:
    """Yield the stale contracts, the open markets, and the exchanges without hours."""
    found = False
    after_s = status.number(Figures.contracts_stale_after) or 0.0
    for broker, reasons in sorted(
        status.table(Figures.contracts_stale_by_reason).items()
    ):
        parts = [f"{number:,} {reason}" for reason, number in reasons.items() if number]
        if parts:
            found = True
            yield f"{broker}: {', '.join(parts)}"
    if found:
        markets = status.counts(Figures.markets_open)
        names = [name for name, is_open in markets.items() if is_open]
        yield f"old after {after_s:,.0f} s; markets open: {', '.join(names) or 'none'}"
    without_hours = status.table(Figures.contracts_hours_unknown)
    for broker, numbers in sorted(without_hours.items()):
        for exchange, number in sorted(numbers.items()):
            yield (
                f"{broker}: hours of exchange {exchange} are not known: no warning about "
                f"{number:,} contracts"
            )


def _latency(status: StatusAnswer) -> str:
    window = status.last_minute(Figures.latency_to_durable)
    if window.get("p50") is None:
        return "no tick in the last minute"
    shown = "  ".join(
        f"{name} {value:,.1f}"
        for name in ("p50", "p95", "p99")
        if (value := window.get(name)) is not None
    )
    target = status.number(Figures.slo_target)
    kept = "breached" if status.flag(Figures.slo_is_breached) else "kept"
    slo = "" if target is None else f"; p95 below {target:g}: {kept}"
    return f"{shown} ms, last minute{slo}"


def _ago(moment: datetime | None, now: datetime) -> str:
    """Return an age in a unit that suits it."""
    if moment is None:
        return "never"
    # The clock has whole seconds, so a frame of the present second seems to be newer.
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
