"""The events of this run, for the streams of HTTP clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from greeks_trio.model.alerts import AlertEvent

# A client that is further behind gets these and misses the others, which are in the table.
_MOST: Final = 200
_OVER: Final = ("recovery", "ended")


class RecentAlerts:
    """The last events, and the last event of each rule that is breached or unknown."""

    def __init__(self) -> None:
        self._events: deque[AlertEvent] = deque(maxlen=_MOST)
        self._number = 0
        self._present: dict[str, AlertEvent] = {}

    def load(self, present: Iterable[AlertEvent]) -> None:
        """Take the last events of the rules that were breached or unknown before."""
        self._present = {each.rule: each for each in present}

    def add(self, events: Iterable[AlertEvent]) -> None:
        """Take new events."""
        for each in events:
            self._events.append(each)
            self._number += 1
            self._present.pop(each.rule, None)
            if each.kind not in _OVER:
                self._present[each.rule] = each

    def changes(self, seen: int | None) -> tuple[int, Sequence[AlertEvent]]:
        """Return the number of the last event, and those after the one that was seen.

        With `None`, these are the events of the rules that are breached or unknown.
        """
        if seen is None:
            return self._number, [*self._present.values()]
        new = self._number - seen
        return self._number, [*self._events][-new:] if new > 0 else []
