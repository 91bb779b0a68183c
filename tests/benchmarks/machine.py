"""On which machine, and with which versions, a benchmark ran."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from psycopg import pq

LIBRARIES = (
    "psycopg",
    "asyncpg",
    "trio",
    "trio-websocket",
    "msgspec",
    "tastytrade",
)


def describe_machine() -> dict[str, str]:
    """Return the facts, in the order of the page."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    libpq = pq.version()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "libraries": ", ".join(
            [f"{name} {_version(name)}" for name in LIBRARIES]
            + [f"libpq {libpq // 10000}.{libpq % 10000}"]
        ),
        "load average at the start": load,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()
