"""A record of the clients and of the ticks that each one was sent: JSON lines.

The ledger has a tick once, whichever clients it was sent to.  With two services on the
same brokers this record tells which of them had which feed, and when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Final, Literal

import msgspec

from greeks_trio.model.records import Broker
from greeks_trio.simulators.server.websocket import ServerWebSocket


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client has connected or gone, or a tick was sent to it.

    Attributes:
        client: The number of the connection.
        at: `time.monotonic`, in seconds.
        port: The port of the client's end of the connection.
    """

    kind: Literal["opened", "sent", "ended"] = "sent"
    client: int
    broker: Broker
    at: float
    port: int = 0
    contract_key: str = ""
    event_time_ms: int = 0


class Deliveries:
    """Appends to a file, or does nothing when there is none."""

    def __init__(self, path: Path | None) -> None:
        self._numbers = count(1)
        self._encoder: Final = msgspec.json.Encoder()
        self._fd = (
            None
            if path is None
            else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        )

    def open(self, broker: Broker, socket: ServerWebSocket) -> ClientDeliveries:
        """Return the record of a new client."""
        client = ClientDeliveries(self, next(self._numbers), broker)
        if self.is_kept:
            client.note("opened", port=socket.peer_port)
        return client

    def write(self, lines: list[Delivery]) -> None:
        """Append lines, in one write."""
        if self._fd is not None and lines:
            os.write(self._fd, self._encoder.encode_lines(lines))

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._fd is not None

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class ClientDeliveries:
    """The record of one client."""

    def __init__(self, deliveries: Deliveries, number: int, broker: Broker) -> None:
        self._deliveries = deliveries
        self._number = number
        self._broker = broker

    def sent(self, ticks: Iterable[tuple[str, int]]) -> None:
        """Note ticks just before they are sent, as contract key and milliseconds."""
        if not self._deliveries.is_kept:
            return
        now = time.monotonic()
        self._deliveries.write(
            [
                Delivery(
                    client=self._number,
                    broker=self._broker,
                    at=now,
                    contract_key=contract_key,
                    event_time_ms=event_time_ms,
                )
                for contract_key, event_time_ms in ticks
            ]
        )

    def ended(self) -> None:
        """Note that the client has gone."""
        self.note("ended")

    def note(self, kind: Literal["opened", "ended"], *, port: int = 0) -> None:
        """Note that the client has come or gone."""
        line = Delivery(
            kind=kind,
            client=self._number,
            broker=self._broker,
            at=time.monotonic(),
            port=port,
        )
        self._deliveries.write([line])


def read_deliveries(path: Path) -> Iterator[Delivery]:
    """Yield the lines of a file in the order of writing."""
    decoder = msgspec.json.Decoder(Delivery)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
