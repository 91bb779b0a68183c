"""One WebSocket of the simulated gateway, from the upgrade to its end.

Source: IBKR Client Portal API, "WebSockets"; RFC 6455.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

import trio

from greeks_trio.simulators.ibkr import topics
from greeks_trio.simulators.ibkr.answers import IbkrAnswers, now_ms
from greeks_trio.simulators.ibkr.lines import IbkrLines
from greeks_trio.simulators.ibkr.login import GatewayLogin
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.pacing import Pacer
from greeks_trio.simulators.server.http import Request
from greeks_trio.simulators.server.websocket import PONG, ServerWebSocket

# The real gateway has the same interval, also while the market is closed.
HEARTBEAT_INTERVAL_S: Final = 10.0

# Time from the end of writing to the end of the connection.  Closing earlier could
# reset the connection while the last frames are under way.
_LINGER_S: Final = {"close": 10.0, "drop": 0.5}

# Frames for a client that does not read; beyond that, frames out of turn are lost.
_MAX_WAITING_BYTES: Final = 32 * 2**20
# Requests to a silent gateway; beyond that, requests are lost.
_MAX_DEFERRED: Final = 20_000

# The upgrade succeeds before the gateway has a connection of its own to IBKR.
# Requests of clients in this time are lost.
_GAP_S: Final = (0.05, 0.2)

_SESSION_COOKIE: Final = re.compile(r"(?:^|[;\s])(?:api|x-sess-uuid)=.")

# Under these conditions a WebSocket is accepted, and closed with this code.
CLOSE_CODES: Final[Mapping[str, tuple[int, str]]] = {
    "refuse-login": (1000, ""),
    "close-1000": (1000, ""),
    "close-1012": (1012, "restart"),
}

Ending = Literal["close", "drop", "freeze"]


class IbkrStream:
    """The frames of one client.  They are binary and hold UTF-8 JSON.

    Attributes:
        login: The login at the gateway of this client.
    """

    def __init__(
        self,
        state: IbkrState,
        login: GatewayLogin,
        socket: ServerWebSocket,
        request: Request,
        on_change: Callable[[], None],
    ) -> None:
        self.login = login
        self._deliveries = state.ledger.deliveries.open("ibkr", socket)
        self.lines = IbkrLines(state, self._deliveries)
        self._answers = IbkrAnswers(login, self.lines, on_change)
        self.is_open = False  # true once system was sent: requests are answered
        self._state = state
        self._socket = socket
        cookie = request.headers.get("cookie", "")
        self._has_session = _SESSION_COOKIE.search(cookie) is not None
        self._on_change = on_change
        self._wake = trio.Event()
        self._ending: Ending | None = None
        self._close_with = (1001, "gateway stopped")
        self._thaws_at = 0.0
        self._thaw = trio.Event()
        self._deferred: list[str] = []
        self._next_heartbeat_at = 0.0

    async def run(self) -> None:
        """Serve the client until it leaves or `end` is called; keep the stream open.

        Raises:
            trio.BrokenResourceError: the client vanished.  It is in an exception group.
        """
        watchers = self._state.conditions.watchers
        watchers.add(self._wake_up)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope, name="ibkr reader")
                await self._write_on()
                if self._ending == "freeze":
                    nursery.cancel_scope.cancel()
                linger_s = _LINGER_S.get(self._ending or "close", 0.0)
                nursery.cancel_scope.deadline = trio.current_time() + linger_s
            with trio.move_on_at(self._thaws_at):
                await self._thaw.wait()
        finally:
            watchers.discard(self._wake_up)
            self._deliveries.ended()

    def end(self, how: Ending, close_with: tuple[int, str] | None = None) -> None:
        """Make `run` return once everything written has left; no more is made.

        ``close`` sends a close frame, ``drop`` only hangs up.
        """
        self._ending = self._ending or how
        self._close_with = close_with or self._close_with
        self.is_open = False
        self._thaw.set()
        self._wake.set()

    def freeze(self, until: float) -> None:
        """Stop reading and writing, and make `run` return at the time ``until``."""
        self.end("freeze")
        self._thaws_at = until
        self._thaw = trio.Event()

    def tell(self, *frames: bytes) -> None:
        """Send frames to the client when its task runs next."""
        is_heard = self.is_open and not self._is_silent
        if is_heard and self._socket.waiting_bytes < _MAX_WAITING_BYTES:
            self._write(list(frames))
            self._wake.set()

    @property
    def _is_silent(self) -> bool:
        return self._state.conditions.holds("silent")

    def _write(self, frames: list[bytes]) -> None:
        """Write frames, changed as the present faults require."""
        if self._state.conditions.holds("bad-utf8"):
            frames = [topics.spoil(frame) for frame in frames]
        if self._state.conditions.holds("duplicate"):
            frames = [frame for frame in frames for _ in range(2)]
        self._socket.write(frames)

    async def _write_on(self) -> None:
        await self._begin()
        pacer = Pacer(self._state.settings.rate, now=trio.current_time())
        while self._is_listening:
            now = trio.current_time()
            if self._is_silent:
                pacer.restart(now)
                await self._pause_until(float("inf"))
                continue
            self._write(self._frames_due(now, pacer))
            await self._socket.flush()
            next_at = min(self.lines.next_at, self._next_heartbeat_at)
            if self._is_ticking:
                next_at = min(next_at, pacer.next_at(now))
            await self._pause_until(next_at)
        if self._ending == "drop":
            await self._socket.hang_up()
        elif self._ending == "freeze":
            await self._socket.flush()
        else:
            await self._socket.close(*self._close_with)

    async def _begin(self) -> None:
        """Wait for a session if need be, let the gap pass, and send the opening frames."""
        if not self._has_session:
            self._socket.write([topics.encode_waiting()])
        await self._socket.flush()
        while not self._has_session and self._ending is None:
            await self._pause_until(float("inf"))
        if (close_with := self._at_once) is not None:
            self.end("close", close_with)
        gap_ends_at = trio.current_time() + self._state.random.uniform(*_GAP_S)
        while trio.current_time() < gap_ends_at and self._ending is None:
            await self._pause_until(gap_ends_at)
        while self._is_silent and self._ending is None:
            await self._pause_until(float("inf"))
        if self._ending is None:
            self._next_heartbeat_at = trio.current_time() + HEARTBEAT_INTERVAL_S
            self._write(
                topics.encode_opening(
                    self._state.account_positions.login_account_ids,
                    now_ms(),
                    is_logged_in=self.login.is_established,
                )
            )
            self.is_open = True
            self._on_change()

    def _frames_due(self, now: float, pacer: Pacer) -> list[bytes]:
        frames: list[bytes] = []
        for text in self._take_deferred():
            frames += self._answers.answer(text)
        if now >= self._next_heartbeat_at:
            self._next_heartbeat_at = now + HEARTBEAT_INTERVAL_S
            frames.append(topics.encode_heartbeat(now_ms()))
            frames += topics.encode_beside_heartbeat(
                now_ms(),
                self._state.random,
                wrong_share=self._state.settings.imperfections.wrong_status_share,
            )
        frames += self.lines.due(now)
        if self._is_ticking:
            frames += self.lines.ticks(pacer.take_due(now), now)
        else:
            pacer.restart(now)
        return frames

    @property
    def _is_ticking(self) -> bool:
        return self.lines.has_ticking and not self._state.is_still

    @property
    def _at_once(self) -> tuple[int, str] | None:
        """The code and reason with which a new client is closed at once, if it is."""
        for condition, close_with in CLOSE_CODES.items():
            if self._state.conditions.holds(condition):
                return close_with
        return None

    def _take_deferred(self) -> list[str]:
        deferred, self._deferred = self._deferred, []
        return deferred

    async def _read(self, scope: trio.CancelScope) -> None:
        """Read to the end of the connection, then cancel ``scope``."""
        while (messages := await self._socket.receive()) is not None:
            for text in messages:
                self._receive(text)
            await self._socket.flush()
        scope.cancel()

    @property
    def _is_listening(self) -> bool:
        return self._ending is None and self._socket.is_open

    def _receive(self, text: str) -> None:
        if not self._is_listening:
            return
        if not self.is_open:
            if not self._has_session and topics.is_session(text):
                self._has_session = True
                self._wake.set()
            return
        if self._is_silent:
            if text != PONG and len(self._deferred) < _MAX_DEFERRED:
                self._deferred.append(text)
            return
        if text == PONG:  # the real gateway answers a pong with an error
            self._write([topics.encode_unknown_topic("null", whole=True)])
        else:
            self._write(self._answers.answer(text))
        self._wake.set()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _pause_until(self, when: float) -> None:
        with trio.move_on_at(when):
            await self._wake.wait()
            self._wake = trio.Event()
