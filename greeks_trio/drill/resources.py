"""The resources of the service under drill, sampled once a minute.

A leak shows in hours, not in a peak.  So the last half of the samples gives a slope for
each resource, in units an hour.  After a restart of the service the counts begin again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import httpx2
import msgspec
import psutil
import psycopg
import trio

from greeks_trio.drill.environment import ROLE, Environment
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection

INTERVAL_S: Final = 60.0
# A short drill has some samples too.
_MOST_PER_DRILL: Final = 20
_ANSWER_LIMIT_S: Final = 5.0
_CONNECTIONS: Final = b"select count(*) from pg_stat_activity where usename = %s"


class ResourceSample(msgspec.Struct, frozen=True, kw_only=True):
    """The resources at one moment; `None` for those that did not answer.

    Attributes:
        at_s: Seconds since the first fault could come.
        pid: The process of the service.
        memory_mb: Resident memory, in 1,000,000 bytes.
        open_files: File descriptors.
        threads: Threads of the operating system.
        tasks: Trio tasks.
        connections: Sessions of the service in PostgreSQL.
        spool_rows: Ticks on disk.
    """

    at_s: float
    pid: int | None = None
    memory_mb: float | None = None
    open_files: int | None = None
    threads: int | None = None
    tasks: int | None = None
    connections: int | None = None
    spool_rows: int | None = None


RESOURCES: Final = tuple(
    name for name in ResourceSample.__struct_fields__ if name not in ("at_s", "pid")
)


def interval_of(minutes: float) -> float:
    """Return the seconds between two samples of a drill."""
    return min(INTERVAL_S, minutes * 60.0 / _MOST_PER_DRILL)


async def run_sampling(
    environment: Environment, samples: list[ResourceSample], *, interval_s: float
) -> NoReturn:
    """Add a sample to the list at each interval, until cancelled."""
    began_at = trio.current_time()
    while True:
        samples.append(await _sample(environment, trio.current_time() - began_at))
        await trio.sleep(interval_s)


def slopes(samples: Sequence[ResourceSample]) -> dict[str, float | None]:
    """Return the growth of each resource an hour, over the second half of the time.

    It is the slope of the line through the samples by least squares; `None` with less
    than three samples of a resource.
    """
    half = samples[-1].at_s / 2 if samples else 0.0
    later = [each for each in samples if each.at_s >= half]
    return {name: _slope(later, name) for name in RESOURCES}


async def _sample(environment: Environment, at_s: float) -> ResourceSample:
    found: dict[str, Any] = {"pid": environment.service.pid}
    found |= _of_process(environment.service.pid)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask_service, environment, found, name="status")
        nursery.start_soon(_ask_database, environment, found, name="sessions")
    return ResourceSample(at_s=round(at_s, 1), **found)


def _of_process(pid: int | None) -> dict[str, Any]:
    with suppress(psutil.NoSuchProcess):
        if pid is not None:
            process = psutil.Process(pid)
            return {
                "memory_mb": round(process.memory_info().rss / 1e6, 1),
                "open_files": process.num_fds(),
                "threads": process.num_threads(),
            }
    return {}


async def _ask_service(environment: Environment, found: dict[str, Any]) -> None:
    """Add the tasks and the spool; a service that does not answer has none of them."""
    url = f"http://127.0.0.1:{environment.service.http_port}/v1/streaming/status"
    with suppress(httpx2.HTTPError, msgspec.DecodeError, KeyError):
        async with httpx2.AsyncClient(timeout=_ANSWER_LIMIT_S) as client:
            status = msgspec.json.decode((await client.get(url)).content)
        found["tasks"] = status["tasks"]
        found["spool_rows"] = status["spool"]["rows"]


async def _ask_database(environment: Environment, found: dict[str, Any]) -> None:
    """Add the sessions; a server that does not answer has none."""
    with (
        suppress(StoreUnavailable, psycopg.Error),
        trio.move_on_after(_ANSWER_LIMIT_S),
    ):
        async with open_connection(environment.postgres.config) as connection:
            cursor = await connection.execute(_CONNECTIONS, [ROLE])
            [(found["connections"],)] = await cursor.fetchall()


def _slope(samples: Sequence[ResourceSample], name: str) -> float | None:
    points = [
        (each.at_s / 3600.0, value)
        for each in samples
        if (value := getattr(each, name)) is not None
    ]
    if len(points) < 3:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    together = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return round(float(together / spread), 2)
