"""Runs the connections of one feed, one after the other.

One call of `Feed.run_connection` is one connection.  It ends by raising, and the type of
the exception decides about the next connection:

* `FeedInterrupted`: it follows after a delay with jitter.  The delay doubles up to a
  limit; a long enough connection resets it.
* `CredentialsRejected`: it follows only on request, because a person has to act first.
  Credentials that have worked in this run get a few more tries, ever further apart.
* Any other exception is a bug of this program or of a library.  It ends this connection
  and leaves the other brokers alone.  The next connection follows after the longest
  delay; after too many bugs in an hour, only on request.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from greeks_trio.errors import (
    BrokerError,
    CredentialsRejected,
    FeedInterrupted,
    FeedSilent,
    SessionLost,
    leaves,
    plain_reason,
)
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When to run a feed again.

    Attributes:
        min_delay_s: Delay before the first retry.
        max_delay_s: The longest delay.
        healthy_after_s: A connection of at least this length resets the delay.
        max_bugs_an_hour: Restarts after an unexpected error within an hour.
        max_logins_a_minute: Connections that begin within any minute, also on request.
        refused_delays_s: The delays before more tries with credentials that have worked
            in this run and are refused now.
    """

    min_delay_s: float = 1.0
    max_delay_s: float = 60.0
    healthy_after_s: float = 120.0
    max_bugs_an_hour: int = 5
    max_logins_a_minute: int = 6
    refused_delays_s: tuple[float, ...] = (5.0, 15.0, 45.0)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a connection.

    Attributes:
        reason: For a person.
        delay_s: The least delay; `None` if only a person can help.
        stay_away_s: The pause that the broker asked for; no request shortens it.
    """

    reason: str
    delay_s: float | None
    is_refusal: bool = False
    stay_away_s: float = 0.0
    gap_reason: GapReason = GapReason.DISCONNECTED


class Supervisor:
    """Keeps one feed running.

    Args:
        health: Told of every end.
        policy: When to run the feed again.
        retry_now: Ends a pause: after a reload or a start by a person.
        on_refused: Called when the broker refuses the login.
        backoff: The delays between connections; by default those of the policy.
    """

    def __init__(
        self,
        health: FeedHealth,
        policy: RestartPolicy,
        retry_now: WakeUp,
        *,
        on_refused: Callable[[], None] = lambda: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._health = health
        self._policy = policy
        self._retry_now = retry_now
        self._on_refused = on_refused
        self._backoff = backoff or Backoff(
            min_delay_s=policy.min_delay_s, max_delay_s=policy.max_delay_s
        )
        self._bugs: deque[float] = deque()
        # Refusals, one after the other, of credentials that have worked in this run.
        self._refusals = 0
        self._logins: deque[float] = deque(maxlen=policy.max_logins_a_minute)
        # The end of the pause that the broker asked for; valid across runs.
        self._may_return_at = 0.0

    def forgive(self) -> None:
        """Begin with the shortest delay again, because a person has started the feed."""
        self._backoff.reset()
        self._refusals = 0

    async def run(self, run_connection: Callable[[], Awaitable[object]]) -> None:
        """Run connections until cancelled; it may be run again after that.

        The limit of the logins counts all runs.  Stopping and starting the feed does
        not get around it.
        """
        while True:
            await self._wait_turn()
            started_at, calls = trio.current_time(), self._retry_now.calls
            end = await self._run_once(run_connection)
            if trio.current_time() - started_at >= self._policy.healthy_after_s:
                self._backoff.reset()
            if end.is_refusal and self._retry_now.calls != calls:
                # A reload has perhaps replaced the login that was refused.
                end = _End(end.reason, 0.0)
            await self._pause(end)

    async def _run_once(self, run_connection: Callable[[], Awaitable[object]]) -> _End:
        self._health.connecting()
        ends: list[_End] = []
        try:
            await run_connection()
        except* CredentialsRejected as group:
            ends.append(self._after_refusal(group))
        except* BrokerError as group:
            ends.append(_interrupted(group))
        except* Exception as group:  # noqa: BLE001  a bug must not reach the other broker
            ends.append(self._after_bug(group))
        if not any(end.is_refusal for end in ends):
            self._refusals = 0
        # A bug beside a disconnect counts as the bug, a refusal as the refusal.
        return next(
            (end for end in ends if end.delay_s is None),
            ends[-1] if ends else _End("the feed returned", 0.0),
        )

    def _after_refusal(self, group: BaseExceptionGroup[CredentialsRejected]) -> _End:
        reason, delays_s = plain_reason(group), self._policy.refused_delays_s
        worked_before = all(
            isinstance(leaf, CredentialsRejected) and leaf.worked_before
            for leaf in leaves(group)
        )
        if not worked_before or self._refusals >= len(delays_s):
            self._refusals = 0
            return _End(reason, None, is_refusal=True)
        self._refusals += 1
        return _End(
            f"{reason}; this login has worked before, so it is tried again "
            f"(try {self._refusals} of {len(delays_s)})",
            delays_s[self._refusals - 1],
            is_refusal=True,
        )

    def _after_bug(self, group: BaseExceptionGroup[Exception]) -> _End:
        logger.critical("feed.bug broker=%s", self._health.broker, exc_info=group)
        now = trio.current_time()
        while self._bugs and self._bugs[0] <= now - _HOUR_S:
            self._bugs.popleft()
        self._bugs.append(now)
        reason = f"unexpected error: {plain_reason(group)}"
        if len(self._bugs) > self._policy.max_bugs_an_hour:
            return _End(reason, None)
        return _End(reason, self._policy.max_delay_s)

    async def _pause(self, end: _End) -> None:
        broker = self._health.broker
        self._health.disconnected(
            end.reason, attempt=self._backoff.attempts + 1, gap_reason=end.gap_reason
        )
        if end.delay_s is None:
            logger.error(
                "feed.waits_for_operator broker=%s reason=%s", broker, end.reason
            )
            if end.is_refusal:
                self._on_refused()
            await self._retry_now.wait()
            self._backoff.reset()
            return
        delay_s = max(self._backoff.next_delay(), end.delay_s, end.stay_away_s)
        logger.warning(
            "feed.restarting broker=%s attempt=%d delay_s=%.1f reason=%s",
            broker,
            self._backoff.attempts,
            delay_s,
            end.reason,
        )
        self._may_return_at = trio.current_time() + end.stay_away_s
        with trio.move_on_after(delay_s):
            await self._retry_now.wait()

    async def _wait_turn(self) -> None:
        """Wait until the broker and our own limit allow a login, then count it."""
        may_log_in_at = self._may_return_at
        if len(self._logins) == self._logins.maxlen:
            may_log_in_at = max(may_log_in_at, self._logins[0] + _MINUTE_S)
        await trio.sleep_until(may_log_in_at)
        self._logins.append(trio.current_time())


def _interrupted(group: BaseExceptionGroup[BrokerError]) -> _End:
    ends = [leaf for leaf in leaves(group) if isinstance(leaf, FeedInterrupted)]
    return _End(
        plain_reason(group),
        0.0,
        stay_away_s=max((end.retry_after or 0.0 for end in ends), default=0.0),
        gap_reason=_gap_reason(ends),
    )


def _gap_reason(ends: list[FeedInterrupted]) -> GapReason:
    """Return the most precise reason among these ends."""
    for end in ends:
        match end:
            case FeedSilent():
                return GapReason.SILENCE
            case SessionLost():
                return GapReason.SESSION_LOST
    return GapReason.DISCONNECTED
