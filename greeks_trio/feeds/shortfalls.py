"""The state of a connection that stands: complete, or with something missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from greeks_trio.feeds.health import FeedHealth

# Each new reason is a line in the log.  A server may put something new into each message,
# such as the number of a request; these must not fill the log.
MAX_REASONS: Final = 10


class Shortfalls:
    """The shortfalls of one connection.

    A connection may lack several things at once, and different tasks find and fix them.
    The feed is degraded while any thing is missing.
    """

    def __init__(self, health: FeedHealth) -> None:
        self._health = health
        self._stands = False
        self._counts: dict[str, int] = {}
        # The reason by the short name of the thing, the oldest shortfall first.
        self._missing: dict[str, str] = {}
        # How many reasons each thing has had since it is missing.
        self._reasons: Counter[str] = Counter()

    def stands(self) -> None:
        """Note that login, socket and subscriptions are in place; show the state."""
        if not self._stands:
            self._stands = True
            self._health.connected()
            self._show()

    def add(self, thing: str, reason: str) -> None:
        """Note that a thing is missing; ``reason`` says why, for a person.

        After `MAX_REASONS` different reasons the last one stays until `clear`.
        """
        if self._missing.get(thing) == reason or self._reasons[thing] == MAX_REASONS:
            return
        self._reasons[thing] += 1
        self._missing[thing] = reason
        self._show()

    def clear(self, thing: str) -> None:
        """Note that the thing is there, whether it was missing or not."""
        del self._reasons[thing]
        if self._missing.pop(thing, None) is not None:
            self._show()

    def count(self, numbers: Mapping[str, int]) -> None:
        """Note how many of each kind are missing, in place of the last call.

        Args:
            numbers: The number by its words, such as ``contracts without Greeks``.
        """
        counts = {words: number for words, number in numbers.items() if number}
        if counts != self._counts:
            self._counts = counts
            self._show()

    def _show(self) -> None:
        if not self._stands:
            return
        counted = [f"{number} {words}" for words, number in self._counts.items()]
        reason = "; ".join([*counted, *self._missing.values()])
        if reason:
            self._health.degraded(reason)
        else:
            self._health.connected()
