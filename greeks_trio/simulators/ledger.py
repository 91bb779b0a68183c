"""A record of all sent ticks: one JSON line per tick, written before it is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from greeks_trio.model.records import Broker
from greeks_trio.simulators.deliveries import Deliveries


class LedgerTick(msgspec.Struct, frozen=True, kw_only=True):
    """One tick as the table must show it; values in canonical units.

    The values equal the text on the wire (IBKR sends three decimals).  A value is
    `None` if it was not sent or was NaN.  ``sent_monotonic`` is `time.monotonic` in
    seconds; all processes of a machine share this clock.
    """

    broker: Broker
    account_id: str
    contract_key: str
    event_time_ms: int
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    implied_volatility: float | None
    sent_monotonic: float


class Ledger:
    """Appends ticks to a file, or only counts them when there is none.

    Each line is written at once and without a buffer.  The file of a killed simulator
    therefore has every tick that may have been sent.

    Attributes:
        deliveries: The clients that each tick was sent to.
    """

    def __init__(self, path: Path | None, deliveries: Path | None = None) -> None:
        self.ticks = 0
        self.deliveries = Deliveries(deliveries)
        self._encoder = msgspec.json.Encoder()
        self._fd = (
            None
            if path is None
            else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )

    def write(self, ticks: list[LedgerTick]) -> None:
        """Append the ticks of one frame, in one write."""
        self.ticks += len(ticks)
        if self._fd is not None and ticks:
            os.write(self._fd, self._encoder.encode_lines(ticks))

    def close(self) -> None:
        """Close the files."""
        self.deliveries.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_ledger(path: Path) -> Iterator[LedgerTick]:
    """Yield the ticks of a ledger file in the order in which they were sent."""
    decoder = msgspec.json.Decoder(LedgerTick)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
