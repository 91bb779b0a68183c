"""A limit that the drill crosses again and again, and the receiver of its messages.

The figure is the cash of an account of the drill's own, which has no position.  Each value
stays until its event is in the table, so the number of events is known.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection
from greeks_trio.simulators.server.door import Door
from greeks_trio.simulators.server.http import Request, Response

RULE: Final = "Drill cash"
ACCOUNT: Final = "DRILL"
_RULES: Final = f"""[[rule]]
name = "{RULE}"
figure = "cash"
broker = "ibkr"
account_id = "{ACCOUNT}"
above = 500
recovery = 400
unknown_hold_s = 3600
"""
_INTERVAL_S: Final = 0.5
_PAUSE_S: Final = 1.0
_ASK_S: Final = 0.2
_BEYOND: Final = 1000
_SET: Final = """
insert into account_values (broker, account_id, observed_at, currency, cash)
values ('ibkr', %s, clock_timestamp(), 'USD', %s)
"""
_EVENTS: Final = b"select count(*) from alert_events where rule = %s"
_WAITING: Final = b"select count(*) from alert_deliveries where finished_at is null"


class Receipt(NamedTuple):
    """A message that arrived: its Idempotency-Key, and monotonic seconds."""

    key: str
    at: float


class AlertExercise:
    """Crosses the limit.

    Attributes:
        receipts: Every message that arrived, in the order of their times.
        crossings: How often the limit was crossed, with an event in the table.
    """

    def __init__(self, directory: Path, config: Callable[[], DatabaseConfig]) -> None:
        self.receipts: list[Receipt] = []
        self.crossings = 0
        self._config = config
        self._file = directory / "alerts.toml"
        self._file.write_text(_RULES)
        self._door = Door(self._receive)
        self._port = 0
        self._is_ending = False
        self._ended = trio.Event()

    def variables(self) -> dict[str, str]:
        """Return the settings of each service."""
        return {
            "GREEKS_ALERTS_FILE": str(self._file),
            "GREEKS_ALERTS_INTERVAL_S": str(_INTERVAL_S),
            "GREEKS_ALERT_URLS": f"drill=json://127.0.0.1:{self._port}/",
        }

    async def run(self) -> None:
        """Cross the limit until `end`; a database that is away is asked again."""
        while not self._is_ending:
            with suppress(StoreUnavailable, psycopg.Error):
                async with open_connection(self._config(), autocommit=True) as opened:
                    while not self._is_ending:
                        await self._cross(opened)
                        await trio.sleep(_PAUSE_S)
            await trio.sleep(_ASK_S)
        self._ended.set()

    async def end(self) -> None:
        """Return when the last crossing has its event, and every message was delivered."""
        self._is_ending = True
        await self._ended.wait()
        async with open_connection(self._config(), autocommit=True) as opened:
            while await _number(opened, _WAITING):  # noqa: ASYNC110  nothing tells of it
                await trio.sleep(_ASK_S)

    async def _cross(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cash = 0 if self.crossings % 2 else _BEYOND
        await connection.execute(_SET, [ACCOUNT, cash])
        while await _number(connection, _EVENTS, RULE) <= self.crossings:  # noqa: ASYNC110
            await trio.sleep(_ASK_S)
        self.crossings += 1

    def _receive(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        self.receipts.append(Receipt(key, time.monotonic()))
        return Response(body=b"{}")

    async def listen(self, nursery: trio.Nursery) -> None:
        """Start the receiver in the nursery."""
        self._port = await nursery.start(self._door.run, 0)


@asynccontextmanager
async def open_alert_exercise(
    directory: Path, config: Callable[[], DatabaseConfig]
) -> AsyncIterator[AlertExercise]:
    """Receive messages within the block; `AlertExercise.run` is for a task."""
    exercise = AlertExercise(directory, config)
    async with trio.open_nursery() as nursery:
        await exercise.listen(nursery)
        yield exercise
        nursery.cancel_scope.cancel()


async def _number(
    connection: psycopg.AsyncConnection[Any], query: bytes, *values: object
) -> int:
    cursor = await connection.execute(query, values)
    [(number,)] = await cursor.fetchall()
    return int(number)
