"""Notices a loop that has work and does not get on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop of the service, seen from outside.

    Attributes:
        name: Its name for people.
        has_work: Whether there is something to do at this moment.
        steps: Returns a number that changes with every step, also with a failed one.
        limit_s: The longest time in seconds that one step may take.
    """

    name: str
    has_work: Callable[[], bool]
    steps: Callable[[], int]
    limit_s: float


class ProgressWatch:
    """Compares each loop with the last call.  An idle loop is never stuck."""

    def __init__(self, loops: Iterable[Loop]) -> None:
        self._loops = list(loops)
        # The steps of each loop, and when they last changed.
        self._seen: dict[str, tuple[int, float]] = {}

    def stuck(self, now: float) -> dict[str, str]:
        """Return a sentence for each loop that is stuck, by its name.

        Args:
            now: Seconds of a clock that never goes back.
        """
        sentences = {}
        for loop in self._loops:
            steps = loop.steps()
            seen_steps, since = self._seen.get(loop.name, (steps, now))
            if steps != seen_steps or not loop.has_work():
                since = now
            self._seen[loop.name] = steps, since
            if now - since > loop.limit_s:
                sentences[loop.name] = (
                    f"the {loop.name} has had work for {now - since:.0f} s and has not "
                    "made a step; save the log and restart the service"
                )
        return sentences
