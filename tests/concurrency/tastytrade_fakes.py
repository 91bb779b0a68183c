"""Tastytrade in memory: REST as a transport, DXLink and the account streamer as sockets.

Both ends of every websocket are real trio-websocket.  The server's ends live in the
nursery that the test gives, so a feed that dies does not take the server along.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from urllib.parse import unquote

import httpx2
import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, wrap_server_stream

from greeks_trio.brokers.tastytrade.feed import TastytradeFeed
from greeks_trio.brokers.tastytrade.handshake import GREEKS_CHANNEL
from greeks_trio.brokers.tastytrade.session import open_session
from greeks_trio.brokers.tastytrade.socket import MAX_FRAME_BYTES, QUOTE_SERVER
from greeks_trio.config.settings import Secret, TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.feed import FeedOutputs
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.websocket import Endpoint, websocket_over
from greeks_trio.pipeline.journal import Journal
from tests.factories import START, clock_of_trio, records_of

ACCOUNT = "5WT00001"
DXLINK_URL = "ws://127.0.0.1:1/realtime"
STREAMER_URL = "ws://127.0.0.1:1/streamer"
COLUMNS = {
    "Greeks": [
        "eventSymbol",
        "eventFlags",
        "time",
        "volatility",
        "delta",
        "gamma",
        "theta",
        "rho",
        "vega",
    ],
    "Quote": ["eventSymbol", "bidPrice", "askPrice"],
    "Trade": ["eventSymbol", "price"],
}
CALL, PUT = ".SPY261218C600", ".SPY261218P600"
TIME_MS = 1_795_188_600_000  # START


def make_item(symbol, quantity=2, direction="Long", kind="Equity Option", **changes):
    """Return a position as the REST interface shows it."""
    return {
        "account-number": ACCOUNT,
        "symbol": symbol,
        "instrument-type": kind,
        "underlying-symbol": symbol.split()[0],
        "quantity": quantity,
        "quantity-direction": direction,
        "multiplier": 100,
        **changes,
    }


def greeks_row(symbol, delta=0.5, *, time_ms=TIME_MS, flags=0, **changes):
    """Return one Greeks row in the order of `COLUMNS`."""
    values = {
        "eventSymbol": symbol,
        "eventFlags": flags,
        "time": time_ms,
        "volatility": 0.183,
        "delta": delta,
        "gamma": 0.01,
        "theta": -0.2,
        "rho": 0.03,
        "vega": 0.6,
    } | changes
    return [values[column] for column in COLUMNS["Greeks"]]


def make_config(**changes):
    values = {
        "secret": Secret("s3cr3t"),
        "refresh": Secret("r3fr3sh"),
        "api_url": "http://127.0.0.1:1",
        "account_values_s": 0.0,
    }
    return TastytradeConfig(**(values | changes))


def make_health(journal=None):
    journal = Journal() if journal is None else journal  # an empty one is false
    return FeedHealth("tastytrade", journal, now=clock_of_trio(START))


async def journalled(journal):
    """Take and return the new records of the journal, oldest first."""
    found = []
    while len(journal):
        entry = await journal.wait_entry()
        journal.remove(entry)
        found.append(entry)
    return found


class FakeApi(httpx2.AsyncBaseTransport):
    """Tastytrade's REST interface.  ``answers`` overrides a path's answer, ``answer_once`` the next."""

    def __init__(self, *items):
        self.positions = {ACCOUNT: list(items)}
        self.closed_accounts = []
        self.authority_level = "owner"
        self.instruments = {}
        self.answers = {}
        self.answer_once = {}
        self.level = "api"
        self.expires_in = 900
        self.requests = []
        self.logins = 0
        self.tokens = 0
        self.silent = False
        self.delay_s = 0.0
        self.under_way = self.most_under_way = 0
        self._changed = trio.Event()

    def __call__(self):
        """Stand in for the making of a transport."""
        return self

    async def handle_async_request(self, request):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await trio.sleep(self.delay_s)
        self.under_way -= 1
        path = request.url.raw_path.decode().removeprefix("/base")
        self.requests.append((request.method, str(request.url), dict(request.headers)))
        self._changed.set()
        self._changed = trio.Event()
        if self.silent:
            await trio.sleep_forever()
        answer = self.answer_once.pop(path, None) or self.answers.get(path)
        if answer is not None:
            status, headers, body = answer
            return httpx2.Response(status, headers=headers, content=body)
        body = self._answer(path)
        if body is None:
            return httpx2.Response(404, json={"error": {"message": "not found"}})
        return httpx2.Response(200, json=body)

    async def aclose(self):
        pass

    def paths(self):
        return [url.removeprefix("http://127.0.0.1:1") for _, url, _ in self.requests]

    async def wait_request(self, path, times=1):
        """Wait until a path was asked for so many times."""
        while self.paths().count(path) < times:
            await self._changed.wait()

    def _answer(self, path):
        if path == "/oauth/token":
            self.logins += 1
            token = f"access-{self.logins}"
            return {"access_token": token, "expires_in": self.expires_in}
        if path == "/api-quote-tokens":
            self.tokens += 1
            token = {"token": f"quote-token-{self.tokens}", "dxlink-url": DXLINK_URL}
            return {"data": token | {"level": self.level}}
        if path == "/customers/me/accounts":
            numbers = [*self.positions, *self.closed_accounts]
            accounts = [
                {"account-number": each, "is-closed": each in self.closed_accounts}
                for each in numbers
            ]
            level = {"authority-level": self.authority_level}
            return {"data": {"items": [{"account": each} | level for each in accounts]}}
        if path.startswith("/accounts/"):
            return {"data": {"items": self.positions[path.split("/")[2]]}}
        page = self.instruments.get(unquote(path.rpartition("/")[2]))
        if isinstance(page, str):
            page = {"streamer-symbol": page}
        return None if page is None else {"data": page}


class FakeSocketServer:
    """Accepts websockets in memory and runs ``serve`` on each, in its own nursery."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.connections = 0
        self.close_codes = []
        self.socket = None
        self.refuse = False

    @asynccontextmanager
    async def open_socket(self, url, peer=QUOTE_SERVER):
        """Stand in for `greeks_trio.brokers.tastytrade.socket.open_socket`."""
        client_end, server_end = memory_stream_pair()
        self._nursery.start_soon(self._accept, server_end)
        endpoint = Endpoint(
            url=url, peer=peer, tls=None, max_frame_bytes=MAX_FRAME_BYTES
        )
        async with websocket_over(client_end, endpoint) as socket:
            yield socket

    async def send(self, **message):
        """Send one message on the last connection."""
        await self.send_text(json.dumps(message))

    async def send_text(self, text):
        await self.socket.send_message(text)

    async def close(self, code=1000):
        await self.socket.aclose(code=code)

    async def _accept(self, stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            self.socket = socket = await request.accept()
            self.connections += 1
            try:
                while True:
                    await self.take(socket, json.loads(await socket.get_message()))
            except ConnectionClosed as exc:
                self.close_codes.append(exc.reason.code)

    async def take(self, socket, message):
        raise NotImplementedError


class FakeDxlink(FakeSocketServer):
    """A DXLink server that announces its columns after the subscription."""

    def __init__(self, nursery):
        super().__init__(nursery)
        self.received = []  # (time, message)
        self.silent = False
        self.mute = set()  # types of messages that get no answer
        self.keepalives = True
        self.accept_auth = True
        self.columns = dict(COLUMNS)
        self.server_keepalive_s = 60
        self._subscribed_send, self._subscribed = trio.open_memory_channel(1000)

    def types(self):
        return [message["type"] for _, message in self.received]

    def all(self, message_type):
        return [each for _, each in self.received if each["type"] == message_type]

    async def wait_subscribed(self):
        """Return the next FEED_SUBSCRIPTION of Greeks that came."""
        return await self._subscribed.receive()

    async def send_rows(self, *pairs):
        """Send FEED_DATA of (type, rows) pairs."""
        data = []
        for event_type, rows in pairs:
            data += [event_type, [value for row in rows for value in row]]
        await self.send(type="FEED_DATA", channel=GREEKS_CHANNEL, data=data)

    async def take(self, socket, message):
        self.received.append((trio.current_time(), message))
        if self.silent or message["type"] in self.mute:
            return
        match message["type"]:
            case "SETUP":
                await self.send(
                    type="SETUP",
                    channel=0,
                    version="1.0",
                    keepaliveTimeout=self.server_keepalive_s,
                )
                await self.send(type="AUTH_STATE", channel=0, state="UNAUTHORIZED")
            case "AUTH":
                state = "AUTHORIZED" if self.accept_auth else "UNAUTHORIZED"
                await self.send(type="AUTH_STATE", channel=0, state=state)
            case "CHANNEL_REQUEST":
                await self.send(type="CHANNEL_OPENED", channel=message["channel"])
            case "FEED_SETUP":
                await self.announce(channel=message["channel"])
            case "FEED_SUBSCRIPTION":
                await self.announce(channel=message["channel"], **self.columns)
                if message["channel"] == GREEKS_CHANNEL:
                    self._subscribed_send.send_nowait(message)
            case "KEEPALIVE" if self.keepalives:
                await self.send(type="KEEPALIVE", channel=0)

    async def announce(self, *, channel=GREEKS_CHANNEL, **columns):
        """Send FEED_CONFIG, without columns when none are given."""
        message = {"type": "FEED_CONFIG", "channel": channel, "dataFormat": "COMPACT"}
        if columns:
            message["eventFields"] = columns
        await self.send(**message)


class FakeAccountStreamer(FakeSocketServer):
    """The account streamer: acknowledges, and sends messages for the test."""

    def __init__(self, nursery):
        super().__init__(nursery)
        self.received = []
        self.error = None
        self.silent = False
        self._connected_send, self._connected = trio.open_memory_channel(1000)

    async def wait_connected(self):
        """Return the next ``connect`` request."""
        return await self._connected.receive()

    async def take(self, socket, message):
        self.received.append((trio.current_time(), message))
        if self.silent:
            return
        answer = {"action": message["action"], "request-id": message["request-id"]}
        if self.error:
            await self.send(status="error", message=self.error, **answer)
        else:
            await self.send(status="ok", **answer)
        if message["action"] == "connect":
            self._connected_send.send_nowait(message)


class Tastytrade:
    """All of it, and a feed on it."""

    def __init__(self, nursery, *items, room=100, journal=None, **config):
        self.api = FakeApi(*items)
        self.dxlink = FakeDxlink(nursery)
        self.streamer = FakeAccountStreamer(nursery)
        self.journal = Journal() if journal is None else journal
        self.health = make_health(self.journal)
        self.config = make_config(**config)
        self.send, self.frames = trio.open_memory_channel(room)
        self.feed = TastytradeFeed(
            self.config,
            FeedOutputs(self.health, self.health.positions, self.send),
            open_session=lambda config: open_session(config, self.api),
            open_socket=self.open_socket,
        )

    def open_socket(self, url, peer):
        server = self.streamer if url == STREAMER_URL else self.dxlink
        return server.open_socket(url, peer)

    async def receive(self):
        """Return the ticks of the next frame."""
        return records_of(await self.frames.receive())


def interrupted(match):
    """Expect that the connection ends with such a reason, in a group or not."""
    return pytest.RaisesGroup(
        pytest.RaisesExc(FeedInterrupted, match=match),
        flatten_subgroups=True,
        allow_unwrapped=True,
    )


def entries(subscription, key="add"):
    """Return a subscription as (type, symbol) pairs."""
    return [(each["type"], each["symbol"]) for each in subscription.get(key, [])]


async def started(nursery, tasty):
    """Run one connection in the background; return its first subscription."""
    nursery.start_soon(tasty.feed.run_connection)
    return await tasty.dxlink.wait_subscribed()


async def quoted(tasty, *symbols):
    """Send the price of SPY and the first Greeks of these contracts; take the ticks."""
    rows = [greeks_row(each) for each in symbols]
    await tasty.dxlink.send_rows(("Trade", [["SPY", 668.25]]), ("Greeks", rows))
    return await tasty.receive()
