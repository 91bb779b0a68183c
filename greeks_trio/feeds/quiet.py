"""The subscriptions that bring nothing although they were answered.  Pure.

A contract has no Greeks in two cases: it does not exist, or the broker's model has no
values yet.  Only time tells the two apart.  A broker may also end a stream without a
message, while its heartbeats go on.  The only sign is that the contract is quiet for much
longer than usual, and others are not.

A key is the broker's own name of an instrument: IBKR's conid, dxFeed's symbol.  All times are
seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

# The first Greeks of a quiet strike come up to a minute after the request.
GREEKS_LIMIT_S: Final = 90.0
# A pause is no accident if it is both this long and this many times the usual one.
SILENT_TIMES_USUAL: Final = 10.0
SILENT_AT_LEAST_S: Final = 180.0
# A contract that stays silent is asked for again this often.
ASK_AGAIN_S: Final = 120.0
# Other options tick if one of them did so lately.
_OTHERS_WITHIN_S: Final = 30.0
# A request is answered with all fields; that is no tick of the market.
_ANSWER_WINDOW_S: Final = 5.0
# Fewer ticks than this say nothing about a contract's rhythm.
_ENOUGH_TICKS: Final = 3
_WEIGHT: Final = 0.1


class _Watched:
    """The frames of one subscription, in short."""

    __slots__ = (
        "answered_at",
        "asked_again_at",
        "asked_at",
        "has_greeks",
        "is_option",
        "is_overdue",
        "is_silent",
        "last_at",
        "ticks",
        "usual_s",
        "window_ends",
    )

    def __init__(self, now: float, *, is_option: bool) -> None:
        self.is_option = is_option
        self.asked_at = self.last_at = now
        self.asked_again_at = float("-inf")
        self.window_ends = now
        self.answered_at: float | None = None
        self.has_greeks = self.is_overdue = self.is_silent = False
        self.ticks = 0
        self.usual_s = 0.0


class QuietSubscriptions(Generic[KeyT]):
    """The times of the frames of one connection's subscriptions.

    Args:
        are_answered: Whether the broker answers each request with a frame.  Otherwise a
            request without a frame is not told from a contract without Greeks.
    """

    def __init__(self, *, are_answered: bool = True) -> None:
        self._are_answered = are_answered
        self._watched: dict[KeyT, _Watched] = {}
        self._option_ticked_at = float("-inf")
        # Quiet counts from here for as long as nothing has ticked.
        self._first_asked_at = float("inf")
        self._asked_when_all_quiet = False

    def requested(self, key: KeyT, now: float, *, is_option: bool) -> None:
        """Note a request, whether the first one or another."""
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched(now, is_option=is_option)
            if not self._are_answered:
                watched.answered_at = now
        watched.window_ends = now + _ANSWER_WINDOW_S
        self._first_asked_at = min(self._first_asked_at, now)

    def market_ticks(self, now: float) -> None:
        """Note a tick of an option that is not among these contracts."""
        self._option_ticked_at = now
        self._asked_when_all_quiet = False

    def forget(self, key: KeyT) -> None:
        """Drop the memory of a key that is no longer subscribed."""
        self._watched.pop(key, None)

    def frame(self, key: KeyT, now: float, *, has_greeks: bool) -> bool:
        """Note a frame; return whether it changed the missing or the warming contracts."""
        watched = self._watched.get(key)
        if watched is None:
            return False
        if now > watched.window_ends:
            watched.ticks += 1
            watched.usual_s += _WEIGHT * (now - watched.last_at - watched.usual_s)
            if watched.is_option:
                self.market_ticks(now)
        watched.last_at = now
        is_first = watched.answered_at is None
        if is_first:
            watched.answered_at = now
        warms_up = watched.is_option and not watched.has_greeks
        is_news = watched.is_silent or (warms_up and (is_first or has_greeks))
        watched.is_silent = False
        if has_greeks:
            watched.has_greeks = True
            watched.is_overdue = False
        return is_news

    def without_greeks(self, now: float) -> dict[KeyT, float]:
        """Return the options whose Greeks are overdue, and seconds since the request.

        An option without any answer is not among them.
        """
        found = {}
        for key, watched in self._watched.items():
            if watched.has_greeks or not watched.is_option:
                continue
            if watched.answered_at is None or now < watched.asked_at + GREEKS_LIMIT_S:
                continue
            watched.is_overdue = True
            found[key] = now - watched.asked_at
        return found

    def has_greeks(self, key: KeyT) -> bool:
        """Return whether the subscription has brought Greeks."""
        watched = self._watched.get(key)
        return watched is not None and watched.has_greeks

    def warming(self) -> int:
        """Return how many options were answered and are not overdue, without Greeks."""
        return sum(
            each.is_option
            and not each.has_greeks
            and not each.is_overdue
            and each.answered_at is not None
            for each in self._watched.values()
        )

    def silent(self, now: float) -> dict[KeyT, float]:
        """Return the keys that have gone silent, and for how long."""
        return {
            key: now - watched.last_at
            for key, watched in self._watched.items()
            if watched.is_silent
        }

    def take_silent(self, now: float) -> list[KeyT]:
        """Return the keys to ask for again, and count them as silent from here on."""
        if now - self._option_ticked_at > _OTHERS_WITHIN_S:
            return []  # the market may be closed
        taken = []
        for key, watched in self._watched.items():
            if _is_quiet(watched, now) and now >= watched.asked_again_at + ASK_AGAIN_S:
                watched.is_silent = True
                watched.ticks = 0
                watched.asked_again_at = now
                taken.append(key)
        return taken

    def take_all_quiet(self, now: float) -> list[KeyT]:
        """Return everything, once, when all options have fallen quiet together.

        The market may have closed, or all streams may have ended at once, perhaps before
        a first tick.  Another request costs nothing in the first case and repairs the
        second.
        """
        quiet_s = now - max(self._option_ticked_at, self._first_asked_at)
        if self._asked_when_all_quiet or quiet_s < SILENT_AT_LEAST_S:
            return []
        self._asked_when_all_quiet = True
        return list(self._watched)


def _is_quiet(watched: _Watched, now: float) -> bool:
    if watched.is_silent:
        return True
    limit_s = max(SILENT_AT_LEAST_S, SILENT_TIMES_USUAL * watched.usual_s)
    return watched.ticks >= _ENOUGH_TICKS and now - watched.last_at > limit_s
