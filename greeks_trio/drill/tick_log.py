"""A file of the ticks that became durable or were committed, each with its time."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from greeks_trio.model.records import Tick, UnifiedPositionRecord
from greeks_trio.simulators.ledger import LedgerTick

# The tick's identity, and monotonic seconds.
_ENTRY: Final = struct.Struct("=qd")
_SIX_DOUBLES: Final = struct.Struct(">6d")
_MISSING: Final = float("nan")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TickLog:
    """Writes 16 bytes for each tick.

    Attributes:
        first_at: Time of the first tick, in monotonic seconds; `None` before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first_at: float | None = None
        self._file: BinaryIO = path.open("wb")

    def write(self, identity: int, at: float) -> None:
        """Add a tick by its identity; ``at`` is in monotonic seconds."""
        if self.first_at is None:
            self.first_at = at
        self._file.write(_ENTRY.pack(identity, at))

    def record(self, ticks: Sequence[Tick]) -> None:
        """Add ticks whose commit has just been acknowledged."""
        # Not Trio's clock: the ledger's times are of this one.
        now = time.monotonic()
        for tick in ticks:
            self.write(tick_identity(tick.record), now)

    def close(self) -> None:
        """Close the file.  The file stays on disk."""
        self._file.close()


def read_tick_log(path: Path) -> Iterator[tuple[int, float]]:
    """Yield the identity and the time of each tick, in the order of writing."""
    with path.open("rb") as file:
        while chunk := file.read(_ENTRY.size * 4096):
            yield from _ENTRY.iter_unpack(chunk)


def tick_identity(tick: LedgerTick | UnifiedPositionRecord) -> int:
    """Return 64 signed bits that tell this tick from all others, in every process.

    A tick has the same identity in the ledger and in the service.
    """
    values = (
        tick.delta,
        tick.gamma,
        tick.theta,
        tick.vega,
        tick.rho,
        tick.implied_volatility,
    )
    key = f"{tick.broker}|{tick.account_id}|{tick.contract_key}|{_milliseconds(tick)}|"
    packed = _SIX_DOUBLES.pack(
        *[_MISSING if value is None else value + 0.0 for value in values]
    )
    digest = hashlib.blake2b(key.encode() + packed, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _milliseconds(tick: LedgerTick | UnifiedPositionRecord) -> int:
    if isinstance(tick, LedgerTick):
        return tick.event_time_ms
    return round((tick.event_time - _EPOCH).total_seconds() * 1000)
