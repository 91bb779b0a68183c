"""Clients of the HTTP interface: ``python -m tests.benchmarks.http_clients URL STREAMS``.

Several clients read ``/v1/stream``, one of them slowly.  Another asks for metrics and the
status in turn, and one for the lists.  They stop at the end of the input, and print what they found.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.simulators.run import write_line
from tests.benchmarks.reads.queries import percentiles_ms

PAGE = 500
SCRAPE, STATUS = "/metrics", "/v1/streaming/status"
# The lists that need no moment or contract to be asked for.
LISTS = [
    f"{resource.path}?limit={PAGE}"
    for resource in RESOURCES
    if not resource.path.endswith(("/asof", "/snapshots"))
]
# Between an answer and the next question of a client.  A list costs PostgreSQL up to a
# third of a second with ten thousand contracts.
PAUSE_S = 0.5
# The slow client reads so much, and then pauses.
_SLOW_READ, _SLOW_PAUSE_S = 16 * 1024, 0.25
_READ = 256 * 1024


class Streamed(msgspec.Struct):
    """What the fast streams got, and the slow one.

    Attributes:
        lag_ms: p50, p95, p99 and the most, of each tick of the fast streams, from the time
            of its event until the client had it.
        events: Events `greeks`.
    """

    streams: int = 0
    ticks: int = 0
    events: int = 0
    bytes: int = 0
    slow_ticks: int = 0
    seconds: float = 0.0
    lag_ms: list[float] = []


class Asked(msgspec.Struct):
    """The answers to one address: seconds of each, and the size of the last one."""

    times: list[float] = msgspec.field(default_factory=list)
    bytes: int = 0
    refused: int = 0


class Found(msgspec.Struct):
    """What all clients found."""

    streamed: Streamed
    asked: dict[str, Asked]


class _Tick(msgspec.Struct):
    event_time: datetime


_GREEKS = b"event: greeks\ndata: "
_DECODER = msgspec.json.Decoder(list[_Tick])


@dataclass
class Client:
    """One connection."""

    host: str
    stream: trio.SocketStream
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def ask(self, path: str) -> int:
        """Send a request, and return the status of the answer."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        head = h11.Request(method="GET", target=path, headers=[("Host", self.host)])
        data = self.http.send(head) + self.http.send(h11.EndOfMessage())
        await self.stream.send_all(data)
        answer = await self._next(_READ)
        return answer.status_code

    async def part(self, most: int = _READ) -> bytes:
        """Return the next part of the answer, of one reading; empty at its end."""
        part = await self._next(most)
        return bytes(part.data) if isinstance(part, h11.Data) else b""

    async def _next(self, most: int) -> h11.Event:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some(most))
        return event


async def connect(url: str) -> Client:
    """Return a new connection."""
    host = urlsplit(url).netloc
    name, _, port = host.partition(":")
    return Client(host, await trio.open_tcp_stream(name, int(port)))


class Streams:
    """The clients of ``/v1/stream``."""

    def __init__(self, url: str, number: int) -> None:
        self.found = Streamed(streams=number)
        self._url = url
        self._lags_s = array("d")
        self._began_at = 0.0

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Read all streams until cancelled; started when each has an answer."""
        # The present state, which comes first, has no lag.
        self._began_at = time.time()
        async with trio.open_nursery() as nursery:
            for _ in range(self.found.streams):
                await nursery.start(self._read, _READ, 0.0, self._take)
            if self.found.streams:
                await nursery.start(self._read, _SLOW_READ, _SLOW_PAUSE_S, self._count)
            task_status.started()

    def result(self) -> Streamed:
        """Return what was found so far."""
        self.found.seconds = time.time() - self._began_at
        self.found.lag_ms = percentiles_ms(self._lags_s)
        return self.found

    async def _read(
        self,
        most: int,
        pause_s: float,
        take: Callable[[list[datetime]], None],
        task_status: trio.TaskStatus[None],
    ) -> None:
        client = await connect(self._url)
        client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, most)
        async with client.stream:
            await client.ask("/v1/stream")
            task_status.started()
            rest = b""
            while data := await client.part(most):
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event.startswith(_GREEKS):
                        ticks = _DECODER.decode(event.removeprefix(_GREEKS))
                        self.found.bytes += len(event) if not pause_s else 0
                        take([each.event_time for each in ticks])
                await trio.sleep(pause_s)

    def _take(self, times: list[datetime]) -> None:
        now = time.time()
        moments = map(datetime.timestamp, times)
        self._lags_s.extend(now - at for at in moments if at > self._began_at)
        self.found.events += 1
        self.found.ticks += len(times)

    def _count(self, times: list[datetime]) -> None:
        self.found.slow_ticks += len(times)


async def ask_in_turn(url: str, paths: Sequence[str], asked: dict[str, Asked]) -> None:
    """Ask for each of these over a connection of its own, until cancelled."""
    while True:
        for path in paths:
            one = asked.setdefault(path, Asked())
            client = await connect(url)
            async with client.stream:
                started_at = time.perf_counter()
                status = await client.ask(path)
                size = 0
                while data := await client.part():
                    size += len(data)
                one.times.append(time.perf_counter() - started_at)
            one.bytes = size
            one.refused += status != 200
            await trio.sleep(PAUSE_S)


async def run(url: str, streams: int) -> None:
    """Run all clients until the end of the input, and print what they found.

    The first line of the output says that all streams are open.
    """
    clients, asked = Streams(url, streams), dict[str, Asked]()
    async with trio.open_nursery() as nursery:
        await nursery.start(clients.run)
        nursery.start_soon(ask_in_turn, url, (SCRAPE, STATUS), asked)
        nursery.start_soon(ask_in_turn, url, LISTS, asked)
        write_line("ready")
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    write_line(msgspec.json.encode(Found(clients.result(), asked)).decode())


if __name__ == "__main__":
    trio.run(run, sys.argv[1], int(sys.argv[2]))
