"""A client of the simulated IBKR gateway: it shares no code with the product's."""

from __future__ import annotations

import json
import ssl
from contextlib import asynccontextmanager
from datetime import date
from urllib.parse import urlsplit

import httpx2
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger, read_ledger

FIELDS = ["31", "84", "86", "85", "88", "87", "6509", "7308", "7309", "7310", "7311"]
FIELDS += ["7633"]
GREEKS = {"7308": "delta", "7309": "gamma", "7310": "theta", "7311": "vega"}
COOKIE = "api=0123456789abcdef0123456789abcdef"

# Nothing on this machine takes as long, unless it will never come.
PATIENCE_S = 25.0
# At the rates of these tests twenty frames would have come in this time.
SILENCE_S = 0.4
LATE_S = 0.1


class Gateway:
    """A running simulator, its ledger, and clients for it."""

    def __init__(self, simulator, market, endpoints, ledger_path):
        self.simulator = simulator
        self.market = market
        self.endpoints = endpoints
        self.ledger_path = ledger_path
        self.tls = ssl.create_default_context(cafile=endpoints.ca_file)

    @property
    def ledger(self):
        return list(read_ledger(self.ledger_path))

    @property
    def written(self):
        """The ledger in the form of `merge`."""
        conids = {
            each.contract.contract_key: each.conid for each in self.market.options
        }
        return [
            (
                conids[tick.contract_key],
                tick.event_time_ms,
                tick.delta,
                tick.gamma,
                tick.theta,
                tick.vega,
                tick.implied_volatility,
            )
            for tick in self.ledger
        ]

    @property
    def faults(self):
        return self.simulator.faults

    @property
    def verbs(self):
        return self.simulator.verbs

    @property
    def conids(self):
        return [option.conid for option in self.market.options]

    @asynccontextmanager
    async def open_stream(self):
        url = urlsplit(self.endpoints.ws_url)
        stream = await trio.open_ssl_over_tcp_stream(
            url.hostname, url.port, ssl_context=self.tls, https_compatible=True
        )
        async with stream:
            yield stream

    @asynccontextmanager
    async def open_socket(self, cookie=COOKIE):
        """Connect; the headers are those of a client with this cookie."""
        url = urlsplit(self.endpoints.ws_url)
        headers = [("Cookie", cookie)] if cookie else []
        async with self.open_stream() as stream, trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery, stream, url.netloc, url.path, extra_headers=headers
            )
            async with socket:
                yield Client(socket)

    @asynccontextmanager
    async def open_ready_socket(self):
        async with self.open_socket() as client:
            await client.receive_until("system")
            yield client

    def open_rest(self):
        return httpx2.AsyncClient(verify=self.tls, base_url=self.endpoints.rest_url)


class Client:
    """One WebSocket; remembers every frame that it read."""

    def __init__(self, socket):
        self.socket = socket
        self.frames = []
        self.raw = []

    async def send(self, text):
        await self.socket.send_message(text)

    async def subscribe(self, *conids, fields=FIELDS):
        for conid in conids:
            arguments = json.dumps({"fields": list(fields)})
            await self.send(f"smd+{conid}+{arguments}")

    async def receive(self):
        with trio.fail_after(PATIENCE_S):
            frame = await self.socket.get_message()
        assert isinstance(frame, bytes)
        self.raw.append(frame)
        self.frames.append(read(frame))
        return self.frames[-1]

    async def receive_until(self, topic):
        while (frame := await self.receive()).get("topic") != topic:
            pass
        return frame

    async def receive_until_closed(self):
        while True:
            try:
                await self.receive()
            except ConnectionClosed as closed:
                return closed.reason

    async def receive_until_silent(self):
        while True:
            with trio.move_on_after(SILENCE_S) as waiting:
                await self.receive()
                continue
            # A process that runs late has heard nothing because it was not there.
            if trio.current_time() < waiting.deadline + LATE_S:
                return

    async def receive_for(self, seconds):
        with trio.move_on_after(seconds):
            while True:
                await self.receive()

    async def receive_ticks(self, count):
        """Read until that many frames with Greeks have come."""
        while count:
            count -= "7308" in await self.receive()

    def conids_with_greeks(self):
        return {frame["conid"] for frame in self.frames if "7308" in frame}

    def topics(self):
        return {frame.get("topic") for frame in self.frames}

    def of(self, conid):
        return [frame for frame in self.frames if frame.get("conid") == conid]


def read(frame):
    """Return a frame's object; a frame without an object comes as ``text``."""
    text = frame.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {"text": text}
    return content if isinstance(content, dict) else {"text": text}


def merge(frames):
    """Return the ticks of these frames of one connection, in the order they came.

    A field that a frame does not have is that of the newest earlier frame, unless that
    one is newer than the frame itself.
    """
    history, rows = {}, {}
    for frame in frames:
        if not {"7633", *GREEKS} & set(frame):
            continue
        conid, updated = frame["conid"], frame["_updated"]
        values = []
        for name in (*GREEKS, "7633"):
            told = history.setdefault((conid, name), [])
            if name in frame:
                told.append((updated, frame[name]))
                values.append(frame[name])
            else:
                newest = max(told, key=lambda each: each[0], default=(0, ""))
                values.append(newest[1] if newest[0] <= updated else "")
        *greeks, percent = values
        greeks = [None if each in ("", "N/A") else float(each) for each in greeks]
        if any(each is not None for each in greeks):
            blank = percent in ("", "N/A")
            iv = None if blank else float(percent.removesuffix("%")) / 100
            # A frame that comes twice is one tick.
            rows.setdefault((conid, updated), (*greeks, iv))
    return [(*key, *values) for key, values in rows.items()]


async def start_gateway(
    nursery, ledger_path, *, contracts=6, held=None, rate=100.0, **options
):
    market = textbook_market(contracts=contracts, seed=5, today=date(2026, 3, 2))
    mine = market.options[:held]
    simulator = SimulatedIbkr(
        market, mine, Ledger(ledger_path), rate=rate, seed=7, **options
    )
    endpoints = await nursery.start(simulator.run, 0)
    return Gateway(simulator, market, endpoints, ledger_path)
