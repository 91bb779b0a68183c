"""The ERROR messages of the quote server.

An ERROR does not end the connection; a close or a silence does.  But its words are
kept: they are often the only reason for a close.
"""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.handshake import AGGREGATION_PERIODS_S
from greeks_trio.brokers.tastytrade.subscriber import SubscriptionSender
from greeks_trio.brokers.tastytrade.wire.messages import ServerError
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.foreign_text import clean

logger = logging.getLogger(__name__)

# The kinds of the specification; all others are counted as one kind.
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
# The answers to a request that is too large, too fast or not understood.  They need not
# come on the channel of the request.
_REFUSALS: Final = frozenset(("BAD_ACTION", "INVALID_MESSAGE"))
# An error probably causes the end of a connection that follows within this time.
RECENT_S: Final = 10.0
# After this time without another error, the state does not show the last one.
QUIET_LIMIT_S: Final = 60.0
_LONGEST_MESSAGE: Final = 200
_MAX_TOLD: Final = 100
_ERRORS: Final = "errors"


class ServerErrors:
    """The errors of one connection."""

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        subscriber: SubscriptionSender,
    ) -> None:
        self._health = health
        self._shortfalls = shortfalls
        self._subscriber = subscriber
        self._told: set[str] = set()
        self._last: tuple[float, str] | None = None
        self._came = trio.Event()

    def take(self, error: ServerError, *, is_ready: bool) -> None:
        """Count the error, log it once, and show it in the state of the feed.

        Args:
            error: The message.
            is_ready: Whether a request for subscriptions may have caused it.
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
            self._subscriber.refused(words)
        elif error.error or error.message:
            # An error without words has nothing to show.
            self._shortfalls.add(_ERRORS, f"the quote server says {words}")
            self._came.set()

    def recent_words(self) -> str:
        """Return the last error, if it is recent, as the end of a sentence."""
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
            self._shortfalls.clear(_ERRORS)

    def _words(self, error: ServerError) -> str:
        kind, message = error.error or "ERROR", " ".join((error.message or "").split())
        words = f"{kind}: {message}" if message else kind
        return clean(words, limit=_LONGEST_MESSAGE)
