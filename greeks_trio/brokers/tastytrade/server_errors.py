"""What the quote server complains of.

An ERROR says nothing about the connection, which goes on until it is closed or silent.
But the words are worth keeping: they are often the only reason that a close has.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.handshake import AGGREGATION_PERIODS_S
from greeks_trio.brokers.tastytrade.subscriber import Subscriptions
from greeks_trio.brokers.tastytrade.wire.messages import ServerError
from greeks_trio.config.settings import Secret
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Condition

logger = logging.getLogger(__name__)

# Of the specification; whatever else comes is counted as one kind.
_KINDS: Final = frozenset(
    (
        "UNSUPPORTED_PROTOCOL",
        "TIMEOUT",
        "UNAUTHORIZED",
        "INVALID_MESSAGE",
        "BAD_ACTION",
        "UNKNOWN",
    )
)
# What a request of ours is answered with that was too large, too fast or not
# understood.  Nothing says that this comes on the request's channel.
_REFUSALS: Final = frozenset(("BAD_ACTION", "INVALID_MESSAGE"))
# An end that comes so soon after an error probably comes from it.
RECENT_S: Final = 10.0
# So long without another error, and the last one is no longer the state of the feed.
QUIET_LIMIT_S: Final = 60.0
_LONGEST_MESSAGE: Final = 200
_MAX_TOLD: Final = 100
_ERRORS: Final = "errors"


class ServerErrors:
    """The errors of one connection."""

    def __init__(
        self,
        health: FeedHealth,
        condition: Condition,
        subscriptions: Subscriptions,
        token: Secret,
    ) -> None:
        self._health = health
        self._condition = condition
        self._subscriptions = subscriptions
        self._token = token
        self._told: set[str] = set()
        self._last: tuple[float, str] | None = None
        self._came = trio.Event()

    def take(self, error: ServerError, *, is_ready: bool) -> None:
        """Count the error, tell of each once, and show it in the feed's state.

        Args:
            error: As it came.
            is_ready: Whether there may be a request for subscriptions at fault.
        """
        kind = error.error if error.error in _KINDS else "OTHER"
        is_ours = error.channel in AGGREGATION_PERIODS_S
        self._health.count("dxlink.error")
        self._health.count(f"dxlink.error.{kind.lower()}")
        words = self._words(error)
        self._last = trio.current_time(), words
        if words not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(words)
            logger.warning(
                "tastytrade.server_error channel=%d %s", error.channel, words
            )
        if not is_ready:
            return
        if is_ours or kind in _REFUSALS:
            self._subscriptions.refused(words)
        elif error.error or error.message:
            # One that says nothing leaves nothing to show.
            self._condition.lack(_ERRORS, f"the quote server says {words}")
            self._came.set()

    def recent_words(self) -> str:
        """Return what the server said shortly before now, to end a sentence with."""
        if self._last is None or trio.current_time() > self._last[0] + RECENT_S:
            return ""
        return f", after it said {self._last[1]}"

    async def run_forgetting(self) -> NoReturn:
        """Take an error out of the state after a quiet minute, until cancelled."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            with trio.move_on_after(QUIET_LIMIT_S):
                await self._came.wait()
                continue
            self._condition.mended(_ERRORS)

    def _words(self, error: ServerError) -> str:
        secret = self._token.reveal()
        kind, message = error.error or "ERROR", " ".join((error.message or "").split())
        words = f"{kind}: {message}" if message else kind
        return words.replace(secret, "***")[:_LONGEST_MESSAGE]


# The columns are announced before the first row; a server that is late is so by moments.
UNREADABLE_LIMIT_S: Final = 10.0
# So long without another row that cannot be read, and it is no longer the state of the
# feed: the market may have closed, and no good row would come for days.
READABLE_AGAIN_S: Final = 300.0
_ROWS: Final = "rows"


class UnreadableGreeks:
    """Notices when Greeks come and not one can be read.

    Such a feed looks alive: it has frames and heartbeats.

    Args:
        ask: Asks the server to announce its columns again.
    """

    def __init__(
        self, condition: Condition, ask: Callable[[], Awaitable[None]]
    ) -> None:
        self._condition = condition
        self._ask = ask
        self._reason = ""
        self._odd_at = 0.0
        self._odd = trio.Event()
        self._read = trio.Event()

    def take_odd(self, reason: str) -> None:
        """Take that Greeks could not be read; ``reason`` as it is counted."""
        self._reason = reason
        self._odd_at = trio.current_time()
        self._odd.set()

    def take_readable(self) -> None:
        """Take that Greeks could be read."""
        if self._odd.is_set():
            self._read.set()

    async def run(self) -> NoReturn:
        """Watch for what goes on unreadable, until cancelled."""
        while True:
            await self._odd.wait()
            with trio.move_on_after(UNREADABLE_LIMIT_S):
                await self._read.wait()
            if not self._read.is_set():
                reason = f"Greeks come that cannot be read: {self._reason}"
                self._condition.lack(_ROWS, reason)
                await self._ask()
                await self._wait_end()
                self._condition.mended(_ROWS)
            self._odd, self._read = trio.Event(), trio.Event()

    async def _wait_end(self) -> None:
        """Return when Greeks can be read again, or none came for a while."""
        while (left_s := self._odd_at + READABLE_AGAIN_S - trio.current_time()) > 0:
            with trio.move_on_after(left_s):
                await self._read.wait()
                return
