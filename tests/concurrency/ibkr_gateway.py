"""A gateway for tests: real websocket over memory, REST through a fake transport.

The test controls it.  Every `wait_*` method waits for an action of the feed.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx2
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, wrap_server_stream

from greeks_trio.brokers.ibkr.feed import IbkrFeed
from greeks_trio.brokers.ibkr.session import open_session
from greeks_trio.brokers.ibkr.socket import GATEWAY
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.feeds.feed import FeedOutputs
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.feeds.supervisor import RestartPolicy, Supervisor
from greeks_trio.feeds.websocket import Endpoint, websocket_over
from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import WakeUp
from tests.factories import clock_of_trio

SESSION = "00112233445566778899aabbccddeeff"
CONFIG = IbkrConfig(
    api_url="https://localhost:5000/v1/api",
    accounts=("U1", "U2"),
    account_values_s=0.0,
)
LOGGED_IN = {"authenticated": True, "established": True, "connected": True}
T = 1_790_000_000_000


def make_row(conid=7, strike=600, *, position=-3, underlying=756733, **changes):
    """Return an enriched position row of a SPY call."""
    occ = f"SPY   261218C{strike * 1000:08d}"
    return {
        "conid": conid,
        "contractDesc": f"SPY    DEC2026 {strike} C [{occ} 100]",
        "position": float(position),
        "multiplier": 100.0,
        "assetClass": "OPT",
        "undConid": underlying,
        "ticker": "SPY",
        "undSym": "SPY",
        "currency": "USD",
        "pageSize": 100,
    } | changes


class FakeGateway(httpx2.AsyncBaseTransport):
    """REST answers by path, and one websocket at a time.

    Attributes:
        requests: (time, method, path) of each REST request.
        answers: The answer of a path: (status, content), perhaps with headers as a
            third item; or a list of answers, of which the last one stays.
        positions: Rows by account.
        received: (time, text) of each frame from the feed, over all connections.
        close_codes: The code with which each connection was closed.
        says_ready: Whether a connection begins with a ``system`` frame.
        closes_at_once: Whether it closes each connection as soon as it is open.
        heartbeat_s: Seconds between heartbeats; 0 for none.
    """

    def __init__(self, nursery):
        self._nursery = nursery
        self._socket = None
        self._arrived = trio.Event()
        self.requests = []
        self.answers = {}
        self.positions = {"U1": [make_row()], "U2": []}
        # A session that was opened anew holds nothing before it is asked for accounts.
        self.wants_accounts_first = False
        self.received = []
        self.connections = 0
        self.close_codes = []
        self.cookies = []
        self.says_ready = True
        self.closes_at_once = False
        self.heartbeat_s = 10.0
        self.status = dict(LOGGED_IN)

    # REST

    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        path = request.url.path.removeprefix("/v1/api")
        self.requests.append((trio.current_time(), request.method, path))
        content = json.loads(request.content) if request.content else None
        status, answer, *headers = self._answer(path, content, request.url.params)
        headers = headers[0] if headers else None
        if answer is ...:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, bytes):
            return httpx2.Response(status, content=answer, headers=headers)
        return httpx2.Response(status, json=answer, headers=headers)

    def _answer(self, path, content, params):
        if path in self.answers:
            scripted = self.answers[path]
            if callable(scripted):
                return scripted(content, params)
            if isinstance(scripted, list):
                return scripted.pop(0) if len(scripted) > 1 else scripted[0]
            return scripted
        if path == "/tickle":
            return 200, {"session": SESSION, "iserver": {"authStatus": self.status}}
        if path == "/iserver/auth/status":
            return 200, self.status
        if path == "/iserver/accounts":
            return 200, {"accounts": list(self.positions)}
        if path == "/portfolio/accounts":
            self.wants_accounts_first = False
            return 200, [{"accountId": each} for each in self.positions]
        if path.startswith("/portfolio/"):
            _, _, account, _, page = path.split("/")
            rows = [] if self.wants_accounts_first else self.positions[account]
            return 200, rows[int(page) * 100 :][:100]
        return 404, b"<html>Resource not found</html>"

    def times_of(self, path):
        return [at for at, _, asked in self.requests if asked == path]

    def open_session(self, config, pacer):
        return open_session(config, pacer, transport=self)

    # WebSocket

    @asynccontextmanager
    async def open_socket(self, config, session_id):
        """Stand in for the real one: memory instead of TLS."""
        client_end, server_end = memory_stream_pair()
        self._nursery.start_soon(self._serve, server_end)
        cookie = f'api={{"session":"{session_id}"}}'.encode()
        endpoint = Endpoint(
            url=config.ws_url,
            peer=GATEWAY,
            tls=None,
            headers=[(b"Cookie", cookie)],
        )
        async with websocket_over(client_end, endpoint) as socket:
            yield socket

    async def send(self, *messages):
        """Send frames: objects as JSON, bytes and texts as they are."""
        for message in messages:
            frame = message
            if isinstance(message, dict):
                frame = json.dumps(message).encode()
            await self._socket.send_message(frame)

    async def send_fields(self, conid=7, *, at=T, **fields):
        fields = {number.removeprefix("f"): value for number, value in fields.items()}
        envelope = {"topic": f"smd+{conid}", "conid": conid, "_updated": at}
        await self.send(envelope | fields)

    async def close(self, code=1012):
        await self._socket.aclose(code=code, reason="restart")

    async def wait_received(self, start, number=1, *, since=0):
        """Return (time, text) of the first frames that begin like this."""
        while True:
            found = [
                each for each in self.received[since:] if each[1].startswith(start)
            ]
            if len(found) >= number:
                return found[:number]
            await self._arrived.wait()

    async def wait_arrived(self):
        """Return when another frame has come."""
        await self._arrived.wait()

    def sent_at(self, start):
        return [at for at, text in self.received if text.startswith(start)]

    def sent(self, start):
        return [text for _, text in self.received if text.startswith(start)]

    async def _serve(self, stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            self.cookies.append(dict(request.headers).get(b"cookie"))
            self._socket = socket = await request.accept()
            self.connections += 1
            beats = trio.CancelScope()
            nursery.start_soon(self._beat, socket, beats)
            try:
                if self.closes_at_once:
                    await socket.aclose(code=1000)
                if self.says_ready:
                    await self.send({"topic": "system", "success": "trader01"})
                while True:
                    text = await socket.get_message()
                    self.received.append((trio.current_time(), text))
                    self._arrived.set()
                    self._arrived = trio.Event()
            except ConnectionClosed as exc:
                self.close_codes.append(exc.reason.code)
                beats.cancel()

    async def _beat(self, socket, scope):
        with scope:
            while self.heartbeat_s:
                await trio.sleep(self.heartbeat_s)
                if self.heartbeat_s:
                    await socket.send_message(b'{"topic":"system","hb":1}')


class KeptJournal(Journal):
    """A journal that keeps its records for the test, oldest first."""

    def __init__(self):
        super().__init__()
        self.recorded = []

    def record(self, note):
        self.recorded.append(note)
        super().record(note)


class Scene:
    """A feed against a fake gateway."""

    def __init__(self, nursery, config=CONFIG, *, intake=1000, jitter=lambda: 0.5):
        self.nursery = nursery
        self.gateway = FakeGateway(nursery)
        self.journal = KeptJournal()
        self.health = FeedHealth("ibkr", self.journal, now=clock_of_trio())
        self.out, self.frames = trio.open_memory_channel(intake)
        self.feed = IbkrFeed(
            config,
            FeedOutputs(
                self.health,
                PositionLog("ibkr", self.journal, now=self.health.now),
                self.out,
            ),
            open_session=self.gateway.open_session,
            open_socket=self.gateway.open_socket,
            jitter=jitter,
        )
        self.endings = []
        self._ended = trio.Event()

    def start(self):
        """Run one connection in the background; its end goes into `endings`."""
        self.nursery.start_soon(self._run)

    def supervise(self):
        """Run connections as the service does, until the test ends."""
        supervisor = Supervisor(self.health, RestartPolicy(), WakeUp())
        self.nursery.start_soon(supervisor.run, self.feed.run_connection)

    async def start_streaming(self, number=1):
        """Run one connection; return when it has subscribed so many conids."""
        since = len(self.gateway.received)
        self.start()
        return await self.gateway.wait_received("smd+", number, since=since)

    async def _run(self):
        try:
            await self.feed.run_connection()
        except* Exception as group:  # noqa: BLE001 - the tests look at it
            self.endings.append((trio.current_time(), leaves(group)))
            self._ended.set()

    async def wait_ended(self):
        """Return (time, exceptions) of the first connection's end."""
        await self._ended.wait()
        return self.endings[0]

    def gaps(self):
        """Return (contract, reason, whether it has ended) of each journaled gap."""
        return [
            (each.contract_key, each.reason, each.ended_at is not None)
            for each in self.journal.recorded
            if isinstance(each, FeedGap)
        ]

    @property
    def status(self):
        return self.health.session().status

    @property
    def notes(self):
        return self.health.session().notes

    @property
    def last_error(self):
        return self.health.session().last_error

    @property
    def counts(self):
        return self.health.statistics().counts


def leaves(group):
    """Return the exceptions in a group, however deep."""
    found = []
    for each in group.exceptions:
        found += leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
