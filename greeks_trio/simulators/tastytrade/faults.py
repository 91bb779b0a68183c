"""The faults of a simulated Tastytrade, one method for each.

A lasting fault keeps its name in `Conditions`, where the parts of the broker look it up;
the other faults act on the present connections.  Ticks that a fault suppresses are not in
the ledger.  Ticks that it changes are in the ledger as they were sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import cycle
from typing import Final

import trio

from greeks_trio.simulators.fault_kinds import Verb
from greeks_trio.simulators.server.door import Door
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape
from greeks_trio.simulators.tastytrade.rest import Rest

DXLINK_PATH: Final = "/realtime"
STREAMER_PATH: Final = "/streamer"
_RECONNECT: Final = "Reconnection is required"
_MIB: Final = 2**20
# Seconds between two invalid frames.
_GARBAGE_PERIOD_S: Final = 0.05
_FEWEST_LINES: Final = 10
_GARBAGE: Final = (
    "",
    "not JSON",
    '{"type":"FEED_DATA","channel":1,"data":["Gre',
    "[]",
    "null",
    "17",
    "{}",
    '{"type":17,"channel":"one"}',
    '{"type":"SURPRISE","channel":0}',
    '{"type":"FEED_DATA"}',
    '{"type":"FEED_DATA","channel":1,"data":[]}',
    '{"type":"FEED_DATA","channel":1,"data":[[],"Greeks"]}',
    '{"type":"FEED_DATA","channel":1,"data":["Greeks",[".SPY",0.5]]}',
    '{"type":"FEED_DATA","channel":1,"data":["Unheard",[1,2,3]]}',
    '{"type":"FEED_DATA","channel":99,"data":["Greeks",[1,2,3]]}',
    '{"type":"ERROR","channel":0}',
    '{"type":"KEEPALIVE","channel":0,"surprise":' + "[" * 500 + "]" * 500 + "}",
)


# Each kind of error in the specification, with a text of real servers.
_ERRORS: Final = (
    ("UNSUPPORTED_PROTOCOL", "The protocol version is not supported."),
    ("TIMEOUT", "The timeout has been reached."),
    ("UNAUTHORIZED", "The token is not valid any more."),
    ("INVALID_MESSAGE", "Message cannot be read."),
    ("BAD_ACTION", "The action is not allowed."),
    ("UNKNOWN", "AuthException: Session not found: api"),
)


class _NotUtf8(str):
    """A text with invalid bytes: wsproto sends the result of `encode` in a text frame."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b'{"type":"KEEPALIVE","channel":0,"\xff\xfe":"\xc3\x28"}'


class TastytradeFaults:
    """The faults of one broker; ``sessions`` has the sessions of its DXLink clients.

    Each method returns when its fault is over and the broker is normal again.
    """

    def __init__(
        self, door: Door, rest: Rest, tape: GreeksTape, sessions: set[DxlinkSession]
    ) -> None:
        self._door = door
        self._rest = rest
        self._tape = tape
        self._sessions = sessions
        self._conditions = tape.conditions

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The function of each fault in `TASTYTRADE_FAULTS`."""
        lasting = (
            *("silent", "no-data", "refuse-login", "duplicate", "nan", "market-closed"),
            *("http-429", "http-503", "upgrade-502", "packed", "unauthorized"),
            *("rate-limit", "delayed", "bad-position", "refuse-values", "odd-values"),
            *("refuse-metrics", "odd-metrics"),
        )
        return {name: partial(self._conditions.hold, name) for name in lasting} | {
            "drop": self._door.drop,
            "half-open": self._door.halt_sockets,
            "garbage": self.garbage,
            "bad-utf8": _without_argument(self.bad_utf8),
            "oversize": self.oversize,
            "errors": _without_argument(self.errors),
            "markers": _without_argument(self.markers),
            "streamer-close": self.streamer_close,
            "expire-session": self.expire_session,
            "reorder": self.reorder,
            "cold": self.cold,
            "columns": self.columns,
            "full-format": partial(self._hold_announced, "full-format"),
            "channel-close": self.channel_close,
            "close-1000": _without_argument(partial(self._close, 1000, "Bye")),
            "close-1012": _without_argument(partial(self._close, 1012, _RECONNECT)),
            "line-limit": self.line_limit,
        }

    async def garbage(self, seconds: float) -> None:
        """Send invalid frames to every client at short intervals, each kind in turn."""
        with trio.move_on_after(seconds):
            for text in cycle(_GARBAGE):
                for session in self._sessions:
                    session.send_odd(text)
                await trio.sleep(_GARBAGE_PERIOD_S)

    async def bad_utf8(self) -> None:
        """Send a text frame that a WebSocket must not carry, and nothing after it.

        The client must end the connection; later frames would be lost.
        """
        for session in tuple(self._sessions):
            session.break_off(_NotUtf8())
        await trio.lowlevel.checkpoint()

    async def oversize(self, mib: float) -> None:
        """Send one huge frame that repeats each new event many times."""
        for session in tuple(self._sessions):
            session.send_huge(mib * _MIB)
        await trio.lowlevel.checkpoint()

    async def errors(self) -> None:
        """Send an ERROR of each kind, without a real error."""
        for session in tuple(self._sessions):
            session.send_errors(_ERRORS)
        await trio.lowlevel.checkpoint()

    async def markers(self) -> None:
        """Send the marker of an empty snapshot for each subscribed option."""
        for session in tuple(self._sessions):
            session.send_markers()
        await trio.lowlevel.checkpoint()

    async def streamer_close(self, seconds: float) -> None:
        """Close the account streamer's WebSockets, and new ones at once."""
        with self._conditions.holding("streamer-close", seconds):
            self._door.close_sockets(STREAMER_PATH, 1000, "")
            await trio.sleep(seconds)

    async def expire_session(self, seconds: float) -> None:
        """Make every token expire, and notify the connected clients."""
        self._rest.access_tokens.forget_all()
        self._rest.quote_tokens.forget_all()
        for session in tuple(self._sessions):
            session.expire()
        await self._conditions.hold("expire-session", seconds)

    async def reorder(self, seconds: float) -> None:
        """Delay events, and send them in the wrong order."""
        try:
            await self._conditions.hold("reorder", seconds)
        finally:
            self._tape.give_late_events()

    async def cold(self, seconds: float) -> None:
        """Let new subscriptions wait."""
        try:
            await self._conditions.hold("cold", seconds)
        finally:
            if not self._conditions.holds("cold"):
                self._tape.warm_up()

    async def columns(self, seconds: float) -> None:
        """Announce and send other columns, and the usual ones again afterwards."""
        # An event sent with rho and then again without would be two ticks.
        self._tape.forget_last_events()
        try:
            await self._hold_announced("columns", seconds)
        finally:
            self._tape.forget_last_events()

    async def channel_close(self, seconds: float) -> None:
        """Close every channel, and for a while every new one."""
        for session in tuple(self._sessions):
            session.close_channels()
        await self._conditions.hold("channel-close", seconds)

    async def line_limit(self, seconds: float) -> None:
        """Accept at most half as many subscriptions as the largest client has."""
        most = max((each.subscription_count for each in self._sessions), default=0)
        limit = most // 2 or _FEWEST_LINES
        with self._conditions.holding("line-limit", seconds, value=limit):
            await trio.sleep(seconds)

    async def _hold_announced(self, name: str, seconds: float) -> None:
        try:
            with self._conditions.holding(name, seconds):
                self._announce()
                await trio.sleep(seconds)
        finally:
            self._announce()

    def _announce(self) -> None:
        for session in tuple(self._sessions):
            session.announce()

    async def _close(self, code: int, reason: str) -> None:
        self._door.close_sockets(DXLINK_PATH, code, reason)
        await trio.lowlevel.checkpoint()


def _without_argument(act: Callable[[], Awaitable[None]]) -> Verb:
    async def verb(_: float) -> None:
        await act()

    return verb
