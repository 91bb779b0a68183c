"""How a service does, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from greeks_trio.commands.status_health import Spool, Staleness, Status, Verdict
from greeks_trio.model.records import StreamSession

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
    verdict: Verdict,
    status: Status | None = None,
    now: datetime | None = None,
    *,
    console: Console | None = None,
) -> None:
    """Print the verdict, what is wrong, and the table if there is anything for it.

    Without colour where there is no terminal.

    Args:
        url: Where the service was asked.
        verdict: Its health.
        status: What it said; `None` when it did not.
        now: Its clock when it said so.
        console: Where to print; default stdout.
    """
    console = Console(highlight=False) if console is None else console
    console.print(
        Text.assemble(
            f"greeks_trio at {url} is ",
            (verdict.health, f"bold {_HEALTH_STYLES[verdict.health]}"),
        )
    )
    for problem in verdict.problems:
        # A long one continues under its own beginning.
        line = Table.grid(padding=(0, 1))
        line.add_row(Text("  -"), _plain(problem))
        console.print(line)
    if status is not None and now is not None:
        console.print(_sessions(status, now))
        facts = Table.grid(padding=(0, 2))
        facts.add_column(no_wrap=True)
        for name, text in _facts(status, verdict, now):
            facts.add_row(Text(name, "bold"), _plain(text))
        console.print(Padding(facts, (0, 1), expand=False))


def _sessions(status: Status, now: datetime) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("broker", "session"):
        table.add_column(heading, no_wrap=True)
    for heading in ("last message", "contracts", "no ticks", "reconnects"):
        table.add_column(heading, justify="right", no_wrap=True)
    for session in status.sessions:
        table.add_row(*_row(session, status, now))
    return table


def _row(session: StreamSession, status: Status, now: datetime) -> Iterator[Text]:
    feed = status.feeds.get(session.broker)
    yield Text(session.broker)
    yield Text(session.status, _SESSION_STYLES[session.status])
    yield Text(_ago(session.last_message_at, now))
    yield Text(
        "-" if feed is None else f"{feed.subscription_count:,} of {feed.wanted:,}"
    )
    yield Text(f"{status.staleness.contracts.get(session.broker, 0):,}")
    yield Text("-" if feed is None else f"{feed.reconnects:,}")


def _facts(
    status: Status, verdict: Verdict, now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield a name and what there is to say of it, one line each."""
    for session in status.sessions:
        error = session.last_error
        if error and not any(problem.endswith(error) for problem in verdict.problems):
            yield session.broker, f"last error: {error}"
    database, memory = status.database, status.memory
    yield "latency", _latency(status)
    if database.connected:
        yield "database", "connected"
    else:
        yield "database", f"not connected: {database.last_error or 'not yet'}"
    yield "spool", _spool(status.spool, now)
    yield "quarantine", f"{status.quarantine.waiting:,} rows"
    yield "lost", f"{status.ticks.lost:,} ticks since the start"
    yield (
        "memory",
        f"{memory.resident_bytes / _MIB:,.0f} MiB; waiting ticks"
        f" {memory.backlog_bytes / _MIB:,.1f} of {memory.backlog_max_bytes / _MIB:,.0f}",
    )
    for text in _stale(status.staleness):
        yield "stale", text


def _spool(spool: Spool, now: datetime) -> str:
    if not spool.rows:
        return "empty"
    doing = ", being stored" if spool.replaying else ""
    return (
        f"{spool.rows:,} ticks, {spool.bytes / _MIB:,.1f} MiB,"
        f" the oldest {_ago(spool.oldest_at, now)} old{doing}"
    )


def _stale(staleness: Staleness) -> Iterator[str]:
    """Yield what is stale of each broker that has any, and which markets are open."""
    silent, delayed = staleness.contracts, staleness.not_realtime
    for broker in sorted({*silent, *delayed}):
        parts = []
        if silent.get(broker):
            parts.append(f"{silent[broker]:,} no ticks for {staleness.after_s:,.0f} s")
        if delayed.get(broker):
            parts.append(f"{delayed[broker]:,} not realtime")
        if parts:
            yield f"{broker}: {', '.join(parts)}"
    if any(silent.values()) or any(delayed.values()):
        markets = [name for name, is_open in staleness.markets_open.items() if is_open]
        yield f"markets open: {', '.join(markets) or 'none'}"


def _latency(status: Status) -> str:
    window = status.latency_ms.last_minute
    if window.p50 is None:
        return "no tick in the last minute"
    values = (("p50", window.p50), ("p95", window.p95), ("p99", window.p99))
    shown = "  ".join(
        f"{name} {value:,.1f}" for name, value in values if value is not None
    )
    bar = status.slo.target_ms
    kept = "breached" if status.slo.is_breached else "kept"
    slo = "" if bar is None else f"; p95 below {bar:g}: {kept}"
    return f"{shown} ms, last minute{slo}"


def _ago(moment: datetime | None, now: datetime) -> str:
    """Return an age in the unit that a person would use."""
    if moment is None:
        return "never"
    # Its clock tells whole seconds, and a frame may have come in this one.
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(text: str) -> Text:
    """Return a text that does nothing to the terminal, whoever has written it."""
    return Text("".join(each if each.isprintable() else "?" for each in text))
