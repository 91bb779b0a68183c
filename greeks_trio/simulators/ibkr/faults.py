"""The faults of the simulated gateways: one method for each.

A method returns when its fault is over and the gateways are as before.  A cancellation
ends the fault at once.  A fault of the brokerage session happens at the gateway that has
it, and every other fault at all gateways.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import trio

from greeks_trio.simulators.fault_kinds import Verb
from greeks_trio.simulators.ibkr.clients import IbkrClients
from greeks_trio.simulators.ibkr.fault_kinds import IBKR_FAULTS
from greeks_trio.simulators.ibkr.gateway import Gateway
from greeks_trio.simulators.ibkr.login import Login
from greeks_trio.simulators.ibkr.noise import GARBAGE, ODD_STATUSES
from greeks_trio.simulators.ibkr.sessions import BrokerageSessions
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ibkr.stream import CLOSE_CODES
from greeks_trio.simulators.ibkr.topics import (
    NO_UTF8,
    encode_notice,
    encode_status,
)

# Interval of the frames that are sent out of turn, in seconds.
_NOISE_INTERVAL_S: Final = 0.05
_STATUS_INTERVAL_S: Final = 0.5
# From the notice that another program competes to the loss of the session, in seconds.
_LOSING_S: Final = 0.3


class IbkrFaults:
    """The faults of the gateways; `verbs` has them by name."""

    def __init__(
        self,
        state: IbkrState,
        sessions: BrokerageSessions,
        clients: IbkrClients,
        gateways: Sequence[Gateway],
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._clients = clients
        self._gateways = gateways

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The faults of `IBKR_FAULTS`, by name."""
        hold = self._state.conditions.hold
        special: dict[str, Verb] = {
            "drop": self.drop,
            "no-data": self.no_data,
            "garbage": self.garbage,
            "bad-utf8": self.bad_utf8,
            "oversize": self.oversize,
            "half-open": self.half_open,
            "refuse-login": self.refuse_login,
            "expire-session": self.expire_session,
            "compete": self.compete,
            "not-established": self.not_established,
            "odd-status": self.odd_status,
            "http-503": self.http_503,
            "close-1000": partial(self.close, "close-1000"),
            "close-1012": partial(self.close, "close-1012"),
            "line-limit": self.line_limit,
        }
        plain = {name: partial(hold, name) for name in IBKR_FAULTS}
        return MappingProxyType(plain | special)

    async def drop(self, refuse_s: float = 5.0) -> None:
        """Hang up on every client, and refuse new ones for ``refuse_s`` seconds.

        Everything that was written reaches the clients first.
        """
        with self._state.conditions.holding("drop", refuse_s):
            until = trio.current_time() + refuse_s
            for each in self._gateways:
                each.door.cut_http()
            await self._clients.end("drop")
            await trio.sleep_until(until)

    async def no_data(self, seconds: float) -> None:
        """End every subscription silently; a new request starts it again."""
        self._clients.end_subscriptions()
        await trio.sleep(seconds)

    async def garbage(self, seconds: float) -> None:
        """Send `GARBAGE` among the good frames."""
        await self._make_noise(itertools.cycle(GARBAGE), seconds)

    async def bad_utf8(self, seconds: float) -> None:
        """Send bytes that are not UTF-8 in notices and in a text field of every tick."""
        with self._state.conditions.holding("bad-utf8", seconds):
            await self._make_noise(itertools.repeat(encode_notice(NO_UTF8, 0)), seconds)

    async def oversize(self, size_mib: float) -> None:
        """Send one notice of ``size_mib`` MiB to every client."""
        text = b"x" * int(size_mib * 2**20)
        self._clients.tell(encode_notice(text, 0))
        await trio.lowlevel.checkpoint()

    async def half_open(self, seconds: float) -> None:
        """Neither read nor write on the present connections, without closing them.

        New ones are served.  The old ones are closed at the end.
        """
        until = trio.current_time() + seconds
        with self._state.conditions.holding("half-open", seconds):
            for gateway in self._gateways:
                gateway.door.cut_http(hold_s=seconds)
            for stream in self._clients.streams:
                stream.freeze(until)
            await trio.sleep_until(until)

    async def refuse_login(self, seconds: float) -> None:
        """Lose the login; after ``seconds`` a login at the gateway's page follows."""
        with self._state.conditions.holding("refuse-login", seconds):
            for each in self._gateways:
                self._sessions.lose(each.login, "logged-out")
            try:
                await self._clients.end("close", CLOSE_CODES["refuse-login"])
                await trio.sleep(seconds)
            finally:
                for each in self._gateways:
                    if each.login.state == "logged-out":
                        each.rest.log_in()

    async def expire_session(self, seconds: float) -> None:
        """Lose the brokerage session; it can be opened again after ``seconds``."""
        self._lose("timed-out")
        await self._state.conditions.hold("expire-session", seconds)

    async def not_established(self, seconds: float) -> None:
        """Lose the brokerage session but not the login; open a new session at the end."""
        with self._state.conditions.holding("not-established", seconds):
            gateway = self._lose("not-established", {"established": False})
            try:
                await trio.sleep(seconds)
            finally:
                self._win_back(gateway, "not-established")

    async def odd_status(self, seconds: float) -> None:
        """Send statuses that are wrong or incomplete."""
        frames = itertools.cycle([encode_status(each) for each in ODD_STATUSES])
        await self._make_noise(frames, seconds, _STATUS_INTERVAL_S)

    async def compete(self, seconds: float) -> None:
        """Let another program take the session, and give it back after ``seconds``.

        A client that competes for it gets it sooner.
        """
        until = trio.current_time() + seconds
        login = self._sessions.logins.present
        self._clients.tell(encode_status({"competing": True}), login=login)
        await trio.sleep(min(_LOSING_S, seconds))
        gateway = self._lose("competing")
        try:
            await trio.sleep_until(until)
        finally:
            self._win_back(gateway, "competing")

    async def http_503(self, seconds: float) -> None:
        """Reset the gateway: answer 503, close every WebSocket, lose the session."""
        with self._state.conditions.holding("http-503", seconds):
            until = trio.current_time() + seconds
            for each in self._gateways:
                self._sessions.lose(each.login, "timed-out")
            await self._clients.end("close", (1001, "reset"))
            await trio.sleep_until(until)

    async def close(self, name: str, seconds: float) -> None:
        """Close every WebSocket as `CLOSE_CODES` says, and each new one at once."""
        with self._state.conditions.holding(name, seconds):
            until = trio.current_time() + seconds
            await self._clients.end("close", CLOSE_CODES[name])
            await trio.sleep_until(until)

    async def line_limit(self, lines: float) -> None:
        """Give market data for only ``lines`` contracts, until cancelled."""
        state, before = self._state, self._state.line_limit
        state.line_limit = int(lines)
        state.lines = dict(itertools.islice(state.lines.items(), int(lines)))
        for each in self._clients.streams:
            each.lines.end_unlined()
        try:
            await trio.sleep_forever()
        finally:
            state.line_limit = before

    async def wait_idle(self) -> None:
        """Lose the session after each `session_timeout_s` without a request.

        Runs until cancelled.
        """
        async with trio.open_nursery() as nursery:
            for each in self._gateways:
                nursery.start_soon(self._wait_idle, each, name="ibkr session")

    async def _wait_idle(self, gateway: Gateway) -> None:
        timeout_s = self._state.settings.session_timeout_s
        since = gateway.rest.last_request_at
        while True:
            await trio.sleep_until(since + timeout_s)
            asked_at = gateway.rest.last_request_at
            if asked_at <= since and gateway.login.is_established:
                self._sessions.lose(gateway.login, "timed-out")
            since = asked_at if asked_at > since else trio.current_time()

    async def _make_noise(
        self,
        frames: Iterator[bytes],
        seconds: float,
        interval_s: float = _NOISE_INTERVAL_S,
    ) -> None:
        with trio.move_on_after(seconds):
            for frame in frames:
                self._clients.tell(frame)
                await trio.sleep(interval_s)

    def _lose(self, state: Login, *status: Mapping[str, object]) -> Gateway:
        """End the session of the gateway that has it, and return the gateway."""
        present = self._sessions.logins.present
        self._sessions.lose(present, state, *status)
        return next(each for each in self._gateways if each.login is present)

    def _win_back(self, gateway: Gateway, state: Login) -> None:
        """Open the session again, unless it is open, or the state has changed."""
        is_open = self._sessions.logins.present.is_established
        if gateway.login.state == state and not is_open:
            gateway.rest.begin_session()
