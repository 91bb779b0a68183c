"""What the service under drill reports of itself, as records of one size.

They go through a pipe to the drill, which writes them down: what was reported before a
SIGKILL is in the pipe, a limit on the size of files does not touch it, and the drill
sees at once when ticks flow again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from greeks_trio.config.settings import BROKERS
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.simulators.ledger import LedgerTick

ReportKind = Literal["started", "durable", "commit"]

_KINDS: Final[tuple[ReportKind, ...]] = ("started", "durable", "commit")
# The file that says by how many seconds the service's wall clock is ahead.
CLOCK_ERROR: Final = struct.Struct("=d")
# kind, broker, mark or port, when it happened, when the tick was received
_RECORD: Final = struct.Struct("=BBqdd")
_SIX_DOUBLES: Final = struct.Struct(">6d")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Report(NamedTuple):
    """One thing that the service says.

    Attributes:
        kind: The service has started, a tick is durable, or there was a commit.
        number: The tick's mark, or the port on which HTTP listens; else 0.
        at: When it happened, `time.monotonic` in seconds.
        received_at: When the tick's frame was read, likewise; else 0.
    """

    kind: ReportKind
    broker: Broker
    number: int
    at: float
    received_at: float


def encode_report(report: Report) -> bytes:
    """Return the record."""
    return _RECORD.pack(
        _KINDS.index(report.kind),
        BROKERS.index(report.broker),
        report.number,
        report.at,
        report.received_at,
    )


def decode_reports(data: bytes) -> tuple[list[Report], bytes]:
    """Return the whole records, and what is left of one that is not whole yet."""
    whole = len(data) - len(data) % _RECORD.size
    return list(_decode(data[:whole])), data[whole:]


def _decode(data: bytes) -> Iterator[Report]:
    for kind, broker, number, at, received_at in _RECORD.iter_unpack(data):
        yield Report(_KINDS[kind], BROKERS[broker], number, at, received_at)


def mark(tick: LedgerTick | UnifiedPositionRecord) -> int:
    """Return 64 signed bits that tell this tick from all others, in every process."""
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
        *(float("nan") if value is None else value + 0.0 for value in values)
    )
    digest = hashlib.blake2b(key.encode() + packed, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _milliseconds(tick: LedgerTick | UnifiedPositionRecord) -> int:
    if isinstance(tick, LedgerTick):
        return tick.event_time_ms
    return round((tick.event_time - _EPOCH).total_seconds() * 1000)
