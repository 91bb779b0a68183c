"""The drill's view of the service while it runs: its reports, kept and waited for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import BROKERS
from greeks_trio.drill.report_stream import Report, decode_reports
from greeks_trio.drill.tick_log import TickLog
from greeks_trio.model.records import Broker
from greeks_trio.waiting import WakeUp

# A feed flows if its newest tick is not older than this.
_FLOWING_S: Final = 3.0


class Observer:
    """Writes the reports of all runs of the service to a file; remembers the newest.

    Attributes:
        durable: Number of ticks that were reported durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.durable = 0
        self._log = TickLog(path)
        self._rest = b""
        # Of each broker: when its newest durable tick was received, and when its last
        # tick became durable.
        self._received_at: dict[Broker, float] = {}
        self._durable_at: dict[Broker, float] = {}
        self._committed_at = 0.0
        self._changed = WakeUp()

    def new_run(self) -> None:
        """Prepare for the reports of a new process of the service."""
        self._rest = b""  # the start of a record that a kill cut short
        self._received_at.clear()

    def hear(self, data: bytes) -> list[Report]:
        """Take output of the present process; return the complete reports."""
        reports, self._rest = decode_reports(self._rest + data)
        for report in reports:
            if report.kind == "durable":
                self._hear_durable(report)
            elif report.kind == "commit":
                self._committed_at = report.at
        self._changed.wake()
        return reports

    def close(self) -> None:
        """Close the file.  The file stays on disk."""
        self._log.close()

    def flowing(self) -> tuple[Broker, ...]:
        """Return the brokers with a tick that the present process received just now."""
        since = time.monotonic() - _FLOWING_S
        return tuple(each for each in BROKERS if self._received_at.get(each, 0) > since)

    async def wait_report(self) -> None:
        """Wait for the next report of any kind."""
        await self._changed.wait()

    async def wait_fresh(self, broker: Broker, after: float) -> float:
        """Wait for a durable tick received later; return when one became durable."""
        while self._received_at.get(broker, 0.0) <= after:
            await self._changed.wait()
        return self._durable_at[broker]

    async def wait_durable(self, after: float) -> None:
        """Wait until any tick becomes durable later."""
        while max(self._durable_at.values(), default=0.0) <= after:
            await self._changed.wait()

    async def wait_commit(self, after: float) -> float:
        """Wait for a later commit and return its time."""
        while self._committed_at <= after:
            await self._changed.wait()
        return self._committed_at

    def _hear_durable(self, report: Report) -> None:
        self.durable += 1
        self._log.write(report.number, report.at)
        broker = report.broker
        self._durable_at[broker] = report.at
        self._received_at[broker] = max(
            report.received_at, self._received_at.get(broker, 0.0)
        )
