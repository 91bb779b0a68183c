"""A DXLink client of the tests' own: it shares no code with the product's."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

GREEKS = ("delta", "gamma", "theta", "vega", "rho", "volatility")
COLUMNS = ["eventSymbol", "time", "index", *GREEKS]
MAX_FRAME_BYTES = 2**27
TYPES = {
    *("SETUP", "AUTH_STATE", "KEEPALIVE", "CHANNEL_OPENED", "CHANNEL_CLOSED", "ERROR"),
    *("FEED_CONFIG", "FEED_DATA"),
}


class DxlinkClient:
    """Follows FEED_CONFIG and keeps every event that came, oldest first."""

    def __init__(self, socket):
        self.socket = socket
        self.events = []
        # Frames that make no sense.
        self.odd = []
        self.closed = None
        self._columns = {}

    async def send(self, kind, channel=0, **fields):
        # json.dumps puts spaces after colons and commas, as some clients do.
        message = {"type": kind, "channel": channel, **fields}
        await self.socket.send_message(json.dumps(message))

    async def receive(self):
        """Return the next message that makes sense."""
        while True:
            frame = await self.socket.get_message()
            try:
                return self._take(json.loads(frame))
            except (ValueError, LookupError, TypeError, AttributeError):
                self.odd.append(frame)

    async def receive_until(self, kind):
        """Return the next message of this kind and let the others pass."""
        while (message := await self.receive())["type"] != kind:
            pass
        return message

    async def receive_events(self, count):
        """Return when so many events have come in all."""
        while len(self.events) < count:
            await self.receive()

    async def receive_to_end(self):
        """Read until the server closes, and return its close code."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as exc:
            return exc.reason and exc.reason.code

    async def log_in(self, token):
        await self.send("SETUP", version="test", keepaliveTimeout=60)
        await self.receive_until("AUTH_STATE")
        await self.send("AUTH", token=token)
        return await self.receive_until("AUTH_STATE")

    async def open_feed(self, channel=1, columns=COLUMNS, **setup):
        await self.send(
            "CHANNEL_REQUEST",
            channel,
            service="FEED",
            parameters={"contract": "AUTO"},
        )
        await self.receive_until("CHANNEL_OPENED")
        fields = {"Greeks": list(columns)}
        setup = {"acceptEventFields": fields, "acceptDataFormat": "COMPACT"} | setup
        await self.send("FEED_SETUP", channel, **{"acceptAggregationPeriod": 0} | setup)

    async def subscribe(self, symbols, channel=1, kind="Greeks", **fields):
        add = [{"type": kind, "symbol": symbol} for symbol in symbols]
        await self.send("FEED_SUBSCRIPTION", channel, add=add, **fields)

    def _take(self, message):
        if message["type"] == "FEED_CONFIG":
            self._columns |= message.get("eventFields", {})
        elif message["type"] == "FEED_DATA":
            self.events += self._read(message["data"])
        elif message["type"] not in TYPES:
            raise ValueError(message["type"])
        return message

    def _read(self, data):
        if isinstance(data[0], dict):
            return data
        events = []
        for kind, values in zip(data[::2], data[1::2], strict=True):
            names = self._columns[kind]
            if len(values) % len(names):
                raise ValueError("no whole rows")
            for start in range(0, len(values), len(names)):
                row = values[start : start + len(names)]
                events.append({"eventType": kind, **dict(zip(names, row, strict=True))})
        return events


@asynccontextmanager
async def open_client(endpoints):
    """Yield a client that is connected and has said nothing."""
    async with open_socket(endpoints.dxlink_url) as wrapped:
        yield DxlinkClient(wrapped)


@asynccontextmanager
async def open_socket(url):
    """Yield a WebSocket whose stream is closed also when the server closed first.

    trio-websocket's own `open_websocket_url` leaves it to the garbage collector then.
    """
    parts = urlsplit(url)
    async with await trio.open_tcp_stream(parts.hostname, parts.port) as stream:
        async with trio.open_nursery() as nursery:
            wrapped = await wrap_client_stream(
                nursery,
                stream,
                parts.netloc,
                parts.path,
                max_message_size=MAX_FRAME_BYTES,
            )
            async with wrapped:
                yield wrapped
            # After a frame that it cannot read its reader waits for more.
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_feed(endpoints, **setup):
    """Yield a client that is logged in and has channel 1 open."""
    token = (await get(endpoints, "/api-quote-tokens"))["token"]
    async with open_client(endpoints) as client:
        await client.log_in(token)
        await client.open_feed(**setup)
        yield client


@asynccontextmanager
async def open_http(endpoints):
    """Yield an HTTP client that is logged in."""
    wanted = {
        "grant_type": "refresh_token",
        "client_secret": endpoints.secret,
        "refresh_token": endpoints.refresh,
    }
    async with httpx2.AsyncClient(base_url=endpoints.api_url) as http:
        answer = await http.post("/oauth/token", json=wanted)
        http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield http


async def get(endpoints, path):
    """Return the data of one answer."""
    async with open_http(endpoints) as http:
        return (await http.get(path)).json()["data"]


def greeks_by_tick(events, key_of):
    """Return {(contract key, time): Greeks} of all events that hold any Greek."""
    ticks = {}
    for event in events:
        found = [event.get(name, "NaN") for name in GREEKS]
        values = tuple(None if each == "NaN" else float(each) for each in found)
        if event["eventType"] == "Greeks" and any(v is not None for v in values[:5]):
            ticks[key_of[event["eventSymbol"]], event["time"]] = values
    return ticks


def ledger_by_tick(ticks):
    """Return {(contract key, time): Greeks}; a tick must not be there twice."""
    found = {
        (tick.contract_key, tick.event_time_ms): (
            *(tick.delta, tick.gamma, tick.theta, tick.vega, tick.rho),
            tick.implied_volatility,
        )
        for tick in ticks
    }
    assert len(found) == len(ticks)
    return found
