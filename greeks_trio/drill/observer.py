"""The drill's view of its services while they run: the reports, kept and waited for."""

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
    """Writes the reports of all runs of each service to a file; remembers the newest.

    The services have numbers from 0.

    Attributes:
        durable: Number of ticks that were reported durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.durable = 0
        self._log = TickLog(path)
        # The start of a record, of each service.
        self._rest: dict[int, bytes] = {}
        # When the newest durable tick of a broker was received by a service, and when the
        # last tick of a broker became durable.
        self._received_at: dict[tuple[int, Broker], float] = {}
        self._durable_at: dict[Broker, float] = {}
        self._committed_at = 0.0
        self._changed = WakeUp()

    def new_run(self, service: int = 0) -> None:
        """Prepare for the reports of a new process of a service."""
        self._rest.pop(service, None)  # the start of a record that a kill cut short
        for broker in BROKERS:
            self._received_at.pop((service, broker), None)

    def hear(self, data: bytes, service: int = 0) -> list[Report]:
        """Take output of the present process; return the complete reports."""
        whole = self._rest.get(service, b"") + data
        reports, self._rest[service] = decode_reports(whole)
        for report in reports:
            if report.kind == "durable":
                self._hear_durable(report, service)
            elif report.kind == "commit":
                self._committed_at = report.at
        self._changed.wake()
        return reports

    def close(self) -> None:
        """Close the file.  The file stays on disk."""
        self._log.close()

    def flowing(self) -> tuple[Broker, ...]:
        """Return the brokers with a tick that a present process received just now."""
        since = time.monotonic() - _FLOWING_S
        return tuple(each for each in BROKERS if self._newest(each) > since)

    async def wait_report(self) -> None:
        """Wait for the next report of any kind."""
        await self._changed.wait()

    async def wait_fresh(self, broker: Broker, after: float) -> float:
        """Wait for a durable tick received later; return when one became durable."""
        while self._newest(broker) <= after:
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

    def _newest(self, broker: Broker) -> float:
        """Return when the newest durable tick was received by a present process."""
        times = (at for (_, name), at in self._received_at.items() if name == broker)
        return max(times, default=0.0)

    def _hear_durable(self, report: Report, service: int) -> None:
        self.durable += 1
        self._log.write(report.number, report.at)
        broker = report.broker
        self._durable_at[broker] = report.at
        self._received_at[service, broker] = max(
            report.received_at, self._received_at.get((service, broker), 0.0)
        )
