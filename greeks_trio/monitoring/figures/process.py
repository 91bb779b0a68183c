"""Figures of the program and of its process."""

from __future__ import annotations

from datetime import datetime

import trio

from greeks_trio.logs import lines_dropped
from greeks_trio.monitoring.figures.figure import Figure, counter, fact, gauge
from greeks_trio.monitoring.readings import Readings
from greeks_trio.version import program_version


class ProcessFigures:
    """The program and its process."""

    build = Figure(
        about="The versions of the program and of Python.",
        read=Readings.build,
        kind="info",
        labels=("version", "python"),
    )

    process_cpu = counter("User and system CPU time.", Readings.cpu_s, unit="seconds")
    started_at = fact(
        "When the process started.",
        Readings.started_at,
        value=datetime,
        status="started_at",
    )
    version = fact(
        "The version of the program.",
        lambda _: program_version(),
        value=str,
        status="version",
    )
    process_resident_memory_bytes = gauge(
        "Resident memory.",
        lambda now: now.process.memory_info().rss,
        unit="bytes",
        status="memory.resident_bytes",
    )
    process_open_fds = gauge(
        "Open file descriptors.", lambda now: now.process.num_fds(), unit="files"
    )
    process_start_time = gauge(
        "Start of the process, Unix time.",
        lambda now: now.process.create_time(),
        unit="seconds",
    )
    tasks = gauge(
        "Trio tasks.",
        lambda _: trio.lowlevel.current_statistics().tasks_living,
        unit="tasks",
        status="tasks",
    )
    log_lines_dropped = counter(
        "Lines of the log that stderr did not take in time.",
        lambda _: lines_dropped(),
        unit="lines",
        status="log.lines_dropped",
    )
    http_connections_full = counter(
        "Connections of HTTP that lost their place or got none, because all were taken.",
        lambda now: {
            outcome: now.status.http_connections[outcome]
            for outcome in ("dropped", "refused")
        },
        labels=("outcome",),
    )
