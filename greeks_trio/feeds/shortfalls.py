"""What is missing on one connection although its data flow."""

from __future__ import annotations

from collections import Counter
from typing import Final

from greeks_trio.feeds.health import FeedHealth

# Each new reason is a line in the log.  A server that says something new each time, such
# as the number of a request, must not fill it.
MAX_REASONS: Final = 10


class Condition:
    """The state of a connection that stands: whole, or what is missing of it.

    Several things may be missing at once, and each is found and mended by somebody
    else; the state is degraded for as long as any is.
    """

    def __init__(self, health: FeedHealth) -> None:
        self._health = health
        self._stands = False
        # By a short name of the thing, in the order in which they went missing.
        self._missing: dict[str, str] = {}
        # How many reasons each of them has had since it went missing.
        self._reasons: Counter[str] = Counter()

    def stands(self) -> None:
        """Login, socket and subscriptions are in place."""
        self._stands = True
        self._show()

    def lack(self, thing: str, reason: str) -> None:
        """Something is missing; ``reason`` for a person.

        After `MAX_REASONS` different ones the last stays until the thing is mended.
        """
        if self._missing.get(thing) == reason or self._reasons[thing] == MAX_REASONS:
            return
        self._reasons[thing] += 1
        self._missing[thing] = reason
        self._show()

    def mended(self, thing: str) -> None:
        """The thing is there again, if it was missing."""
        del self._reasons[thing]
        if self._missing.pop(thing, None) is not None:
            self._show()

    def _show(self) -> None:
        if not self._stands:
            return
        if self._missing:
            self._health.degraded("; ".join(self._missing.values()))
        else:
            self._health.connected()
