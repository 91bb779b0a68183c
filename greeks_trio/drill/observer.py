"""What the drill hears from the service while it runs."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from greeks_trio.config.settings import BROKERS
from greeks_trio.drill.report_stream import Report, decode_reports
from greeks_trio.model.records import Broker
from greeks_trio.waiting import WakeUp

# A feed that has given nothing for so long does not flow.
_FLOWING_S: Final = 3.0
_MARK: Final = struct.Struct("=q")


class Observer:
    """Keeps the reports of all runs of the service in a file, and the newest in mind.

    Attributes:
        durable: Ticks reported durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.durable = 0
        self._file: BinaryIO = path.open("wb")
        self._rest = b""
        # When the newest durable tick of each broker was received, the last became so.
        self._received_at: dict[Broker, float] = {}
        self._durable_at: dict[Broker, float] = {}
        self._committed_at = 0.0
        self._changed = WakeUp()

    def new_run(self) -> None:
        """Say that a new process of the service begins to report."""
        self._rest = b""  # of a record that a kill cut short
        self._received_at.clear()

    def hear(self, data: bytes) -> list[Report]:
        """Take what the present process has written; return the whole reports."""
        reports, self._rest = decode_reports(self._rest + data)
        for report in reports:
            if report.kind == "durable":
                self._hear_durable(report)
            elif report.kind == "commit":
                self._committed_at = report.at
        self._changed.wake()
        return reports

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def flowing(self) -> tuple[Broker, ...]:
        """Return the brokers whose ticks the present process has received just now."""
        since = time.monotonic() - _FLOWING_S
        return tuple(each for each in BROKERS if self._received_at.get(each, 0) > since)

    async def wait_news(self) -> None:
        """Wait for the next report, whatever it says."""
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
        self._file.write(_MARK.pack(report.number))
        broker = report.broker
        self._durable_at[broker] = report.at
        self._received_at[broker] = max(
            report.received_at, self._received_at.get(broker, 0.0)
        )


def read_marks(path: Path) -> Iterator[int]:
    """Yield the marks of the ticks that were reported durable, as they came."""
    with path.open("rb") as file:
        while chunk := file.read(_MARK.size * 4096):
            for (mark,) in _MARK.iter_unpack(chunk):
                yield mark
