"""The state of a connection that stands: complete, or with something missing.

A *fault* makes the feed degraded: `Shortfalls.add` and `Shortfalls.count`.  A *note* is shown
beside the state and does not change it: `Shortfalls.note`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final

import trio

from greeks_trio.feeds.health import FeedHealth

logger = logging.getLogger(__name__)

# Each new reason is a line in the log.  A server may put something new into each message,
# such as the number of a request; these must not fill the log.
MAX_REASONS: Final = 10
# A new kind of shortfall is logged at once.  Other numbers and names of the kinds that the
# log has are logged this often.
LOG_AGAIN_S: Final = 60.0
# The state names this many of each kind.
NAMED: Final = 3
_LONGEST_NAME: Final = 60
# The words for a kind begin with its noun: ``contracts``, ``position rows``.
_PLURAL: Final = re.compile(r"^((?:\w+ )?\w+?)s\b( that have\b)?")


class Shortfalls:
    """The shortfalls and the notes of one connection.

    A connection may lack several things at once, and different tasks find and fix them.
    The feed is degraded while any thing is missing.
    """

    def __init__(self, health: FeedHealth) -> None:
        self._health = health
        self._stands = False
        self._counted: dict[str, tuple[str, ...]] = {}
        # The reason by the short name of the thing, the oldest shortfall first.
        self._missing: dict[str, str] = {}
        # How many reasons each thing has had since it is missing.
        self._reasons: Counter[str] = Counter()
        self._notes: dict[str, str] = {}
        # The kinds and the last reason in the log, and its time.
        self._logged: frozenset[str] = frozenset()
        self._logged_reason = ""
        self._logged_at = float("-inf")

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
        # Another reason is another line in the log.
        self._logged -= {thing}
        self._show()

    def note(self, thing: str, text: str) -> None:
        """Show something that is no fault, until `clear`; ``text`` says what."""
        if thing not in self._notes:
            logger.info("feed.noted broker=%s note=%s", self._health.broker, text)
        if self._notes.get(thing) != text:
            self._notes[thing] = text
            self._show()

    def clear(self, thing: str) -> None:
        """Take back what `add` and `note` said of the thing, if they said something."""
        del self._reasons[thing]
        was_missing = self._missing.pop(thing, None) is not None
        was_noted = self._notes.pop(thing, None) is not None
        if was_missing or was_noted:
            self._show()

    def count(self, missing: Mapping[str, Collection[str]]) -> None:
        """Note the missing things of each kind, in place of the last call.

        Call it now and then, also when nothing has changed: the log gets new numbers of
        a kind that it has only each `LOG_AGAIN_S`.

        Args:
            missing: The names by the words for their kind, such as ``contracts without
                Greeks``.  A kind without names is not missing.
        """
        counted = {words: tuple(names) for words, names in missing.items() if names}
        if counted != self._counted or self._reason() != self._logged_reason:
            self._counted = counted
            self._show()

    def _reason(self) -> str:
        counted = [in_short(words, names) for words, names in self._counted.items()]
        return "; ".join([*counted, *self._missing.values()])

    def _show(self) -> None:
        if not self._stands:
            return
        self._health.noted(self._notes.values())
        if reason := self._reason():
            self._health.degraded(reason, is_news=self._is_news(reason))
        else:
            self._logged, self._logged_reason = frozenset(), ""
            self._health.connected()

    def _is_news(self, reason: str) -> bool:
        """Return whether the log should have this reason, and count it as logged."""
        kinds = {*self._counted, *self._missing}
        now = trio.current_time()
        if kinds <= self._logged and (
            reason == self._logged_reason or now < self._logged_at + LOG_AGAIN_S
        ):
            return False
        self._logged |= kinds
        self._logged_reason, self._logged_at = reason, now
        return True


def in_short(words: str, names: Collection[str]) -> str:
    """Return how many there are of a kind, and the first names, as one phrase.

    Such as ``5 contracts without Greeks (A, B, C and 2 more)``.
    """
    first = [each[:_LONGEST_NAME] for each in islice(names, NAMED)]
    more = len(names) - len(first)
    listed = ", ".join(first) + (f" and {more} more" if more else "")
    if len(names) == 1:
        words = _PLURAL.sub(_one, words)
    return f"{len(names)} {words} ({listed})"


def _one(plural: re.Match[str]) -> str:
    return plural[1] + (" that has" if plural[2] else "")
