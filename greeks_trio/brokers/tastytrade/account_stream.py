"""Tastytrade's account streamer: tells at once that a position changed.

The positions are also read on an interval, so a lost streamer ends nothing: it connects
again, ever more slowly.  It sends no initial state and repeats nothing after a gap, so
the positions are read after each connect.

Source: https://developer.tastytrade.com, "Streaming Account Data"
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn

import msgspec
import trio
from msgspec import Raw

from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.brokers.tastytrade.socket import ACCOUNT_STREAMER, OpenSocket
from greeks_trio.errors import BrokerError, FeedInterrupted, plain_reason
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.feeds.websocket import WebSocket
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# The server drops a client that is silent for 60 s; its own client takes 20.
HEARTBEAT_INTERVAL_S: Final = 20.0
# Each heartbeat is answered, so three answers are missing by then.
SILENCE_LIMIT_S: Final = 65.0


class _Message(msgspec.Struct):
    type: str | None = None
    status: str | None = None
    action: str | None = None
    message: str | None = None
    results: list[Raw] | None = None


class AccountMessage(msgspec.Struct, frozen=True):
    """The content of a frame of the account streamer.

    Attributes:
        connected: The subscription to the accounts stands.
        position_changed: Some position changed.
        error: The reason of a refused request; `None` without one.
    """

    connected: bool = False
    position_changed: bool = False
    error: str | None = None


def parse_account_message(frame: str | bytes) -> AccountMessage:
    """Return the content of the frame; an unreadable frame has none."""
    found = list(_messages(frame))
    errors = [each.message or "no reason" for each in found if each.status == "error"]
    return AccountMessage(
        connected=any(
            each.status == "ok" and each.action == "connect" for each in found
        ),
        position_changed=any(each.type == "CurrentPosition" for each in found),
        error=errors[0] if errors else None,
    )


def encode_action(
    action: str,
    *,
    access_token: str,
    request_id: int,
    accounts: Sequence[str] | None = None,
) -> str:
    """Return the frame of a request; ``accounts`` for ``connect`` only."""
    request: dict[str, object] = {"action": action}
    if accounts is not None:
        request["value"] = list(accounts)
    request["auth-token"] = f"Bearer {access_token}"
    request["request-id"] = request_id
    return msgspec.json.encode(request).decode()


class AccountWatch:
    """Calls ``changed`` whenever positions of the followed accounts may have changed."""

    def __init__(
        self,
        url: str,
        session: TastytradeSession,
        health: FeedHealth,
        *,
        changed: Callable[[], None],
        open_socket: OpenSocket,
    ) -> None:
        self._url = url
        self._session = session
        self._health = health
        self._changed = changed
        self._open_socket = open_socket
        self._accounts: tuple[str, ...] = ()
        self._scope = trio.CancelScope()

    def follow(self, accounts: Sequence[str]) -> None:
        """Watch these accounts from here on; others need another connection."""
        if tuple(accounts) != self._accounts:
            self._accounts = tuple(accounts)
            self._scope.cancel()

    async def run(self) -> NoReturn:
        """Watch until cancelled.

        An error ends one connection only; the next one follows after a growing delay.
        """
        while True:
            with trio.CancelScope() as self._scope:
                if not self._accounts:  # there is nothing to connect for
                    await trio.sleep_forever()
                await self._run_connections()

    async def _run_connections(self) -> NoReturn:
        backoff = Backoff(min_delay_s=1.0, max_delay_s=60.0)
        told: str | None = None
        while True:
            try:
                async with self._open_socket(self._url, ACCOUNT_STREAMER) as socket:
                    await self._stream(socket, backoff).run()
            except* BrokerError as group:
                self._health.count("account-stream.lost")
                reason = plain_reason(group)
                level = logging.DEBUG if reason == told else logging.WARNING
                logger.log(level, "tastytrade.account_stream_lost reason=%s", reason)
                told = reason
            await backoff.wait()

    def _stream(self, socket: WebSocket, backoff: Backoff) -> _AccountStream:
        return _AccountStream(
            socket, self._session, self._accounts, self._changed, backoff
        )


class _AccountStream:
    """One connection to the account streamer."""

    def __init__(
        self,
        socket: WebSocket,
        session: TastytradeSession,
        accounts: Sequence[str],
        changed: Callable[[], None],
        backoff: Backoff,
    ) -> None:
        self._socket = socket
        self._session = session
        self._accounts = accounts
        self._changed = changed
        self._backoff = backoff
        self._silence = SilenceWatch(lambda: SILENCE_LIMIT_S)

    async def run(self) -> None:
        """Read until the connection ends by raising, in an `ExceptionGroup`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_heartbeat, name="account heartbeat")
            nursery.start_soon(
                self._silence.run, _explain_silence, name="account silence"
            )
            await self._read()

    async def _run_heartbeat(self) -> NoReturn:
        """Connect, then send heartbeats until cancelled."""
        for request_id in itertools.count(1):
            # Every request carries a token, and that lives for 15 minutes only.
            frame = encode_action(
                "connect" if request_id == 1 else "heartbeat",
                access_token=await self._session.access_token(),
                request_id=request_id,
                accounts=self._accounts if request_id == 1 else None,
            )
            await self._socket.send(frame)
            await trio.sleep(HEARTBEAT_INTERVAL_S)
        raise AssertionError("itertools.count ended")

    async def _read(self) -> NoReturn:
        while True:
            self._silence.reading()
            frames = await self._socket.receive()
            self._silence.heard()
            for frame in frames:
                self._take(parse_account_message(frame))

    def _take(self, message: AccountMessage) -> None:
        if message.error is not None:
            raise FeedInterrupted(f"the account streamer refused: {message.error}")
        if message.connected:
            self._backoff.reset()
        if message.connected or message.position_changed:
            self._changed()


def _explain_silence(limit_s: float) -> str:
    return f"the account streamer has been silent for {limit_s:.0f} s"


def _messages(frame: str | bytes) -> Iterator[_Message]:
    """Yield the frame's message, or those of a batch."""
    try:
        message = msgspec.json.decode(frame, type=_Message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return
    yield message
    for raw in message.results or ():
        try:
            yield msgspec.json.decode(raw, type=_Message)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
