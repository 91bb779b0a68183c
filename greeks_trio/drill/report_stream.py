"""Reports of the service under drill, as records of one size.

They go through a pipe to the drill, which writes them to a file.  A SIGKILL does not
lose them, a limit on the size of files does not stop them, and the drill sees at once
when ticks flow again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from greeks_trio.config.settings import BROKERS
from greeks_trio.model.records import Broker

ReportKind = Literal["started", "durable", "commit"]

_KINDS: Final[tuple[ReportKind, ...]] = ("started", "durable", "commit")
# The file with the seconds by which the service's wall clock is ahead.
CLOCK_ERROR: Final = struct.Struct("=d")
# kind, broker, tick identity or port, time of the event, time of the tick's receipt
_RECORD: Final = struct.Struct("=BBqdd")


class Report(NamedTuple):
    """One report.

    Attributes:
        kind: The service has started, a tick is durable, or there was a commit.
        number: The tick's identity, or the port of the HTTP server; else 0.
        at: Time of the event, `time.monotonic` in seconds.
        received_at: Time at which the tick's frame was read, likewise; else 0.
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
    """Return the complete records, and the rest: the start of the next one."""
    whole = len(data) - len(data) % _RECORD.size
    return list(_decode(data[:whole])), data[whole:]


def _decode(data: bytes) -> Iterator[Report]:
    for kind, broker, number, at, received_at in _RECORD.iter_unpack(data):
        yield Report(_KINDS[kind], BROKERS[broker], number, at, received_at)
