"""How one broker's feed is doing: its state, signs of life, counters and gaps.

The feed and its supervisor write here; the HTTP interface, the canonical log line and
the demo's table read `FeedHealth.session` and `FeedHealth.statistics`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import trio

from greeks_trio.errors import ProtocolViolation
from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, SessionStatus, StreamSession
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import WakeUp, utc_now

logger = logging.getLogger(__name__)

STOPPING_BY_REQUEST: Final = "stopped by request, but its connection has not ended yet"

KEPT_ODD_FRAMES: Final = 100
# Enough to recognise a frame by; a frame may have several MiB.
_KEPT_CHARACTERS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatistics:
    """What a feed has counted since the start.

    Attributes:
        frames: Frames read, of every kind.
        counts: How often each named thing happened: ``odd.not-json``, ``quote.bad``.
        wanted: Contracts that should be subscribed.
        subscription_count: Contracts that are subscribed on this connection.
        without_line: Contracts that the broker's limit leaves without a subscription.
        warming: Subscribed contracts that have brought no Greeks yet, and may.
        without_greeks: Those whose Greeks are overdue; perhaps there is no such contract.
        reconnects: Connections after the first.
    """

    frames: int
    counts: dict[str, int]
    wanted: int
    subscription_count: int
    without_line: int
    warming: int
    without_greeks: int
    reconnects: int


class FeedHealth:
    """One broker's feed, across its connections.

    Attributes:
        is_stopped: Whether a person has stopped the feed, so that there is none.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.broker = broker
        self.now = now
        self.gaps = GapLog(broker, journal, now=now)
        # The last frames that made no sense, oldest first: (reason, text).
        self.odd_frames: deque[tuple[str, str]] = deque(maxlen=KEPT_ODD_FRAMES)
        self._status: SessionStatus = "disconnected"
        self.is_stopped = False
        # When a person asked for the end of a connection that has not ended yet.
        self._stop_asked_at: datetime | None = None
        self._last_heartbeat_at: datetime | None = None
        self._last_message_at: datetime | None = None
        # The same by the monotonic clock: the other one may be set meanwhile.
        self._last_message_s = 0.0
        self._reconnect_attempt = 0
        self._connections = 0
        self._last_error: str | None = None
        self._frames = 0
        self._counts: Counter[str] = Counter()
        self._wanted = self._subscription_count = self._without_line = 0
        self._warming = self._without_greeks = 0
        # When each subscribed contract was subscribed, `trio.current_time`.
        self._streamed: dict[ContractKey, float] = {}
        self._status_changed = WakeUp()

    # The connection's life, in order.

    def connecting(self) -> None:
        """A connection is being made: login, positions, socket."""
        self._enter("connecting")

    def connected(self) -> None:
        """Login, socket and subscriptions are in place; ends the feed's gap."""
        if self._status != "connected":
            logger.info("feed.connected broker=%s", self.broker)
        self._established("connected", None)

    def degraded(self, reason: str) -> None:
        """Data flow but something is missing; ``reason`` for a person."""
        if self._status != "degraded" or self._last_error != reason:
            logger.warning("feed.degraded broker=%s reason=%s", self.broker, reason)
        self._established("degraded", reason)

    def disconnected(
        self,
        reason: str | None,
        *,
        attempt: int = 0,
        gap_reason: GapReason = GapReason.DISCONNECTED,
    ) -> None:
        """There is no connection; ``reason`` is `None` when nobody wants one.

        The gap that starts here began with the last frame, which may be long ago when
        the peer went silent.
        """
        self._enter("disconnected")
        self._last_error = reason
        self._reconnect_attempt = attempt
        self._subscription_count = self._warming = self._without_greeks = 0
        self._streamed = {}
        if reason is not None:
            self._start_gap(gap_reason)

    def service_stopped(self) -> None:
        """The service ends.  The next run ends the gap that starts here."""
        self._start_gap_at_last_frame(GapReason.STOPPED)

    async def wait_status(self, *statuses: SessionStatus) -> None:
        """Wait until the feed is in one of these states."""
        while self._status not in statuses:
            await self._status_changed.wait()

    # What a person asked for.

    def stop_requested(self) -> None:
        """A person wants no connection; the present one is on its way to its end."""
        self._stop_asked_at = self.now()

    def stopped_by_request(self) -> None:
        """There is no connection because a person wants none.

        That is a gap of its own, which starts with the request and not with the last
        frame.  An outage that was under way ends there: its end is unknown now.
        """
        asked_at, self._stop_asked_at = self._stop_asked_at, None
        self.is_stopped = True
        self.gaps.ended()
        self.gaps.started(GapReason.STOPPED_BY_REQUEST, since=asked_at)
        self.disconnected(GapReason.STOPPED_BY_REQUEST.value)

    def start_requested(self) -> None:
        """A person wants the feed that was stopped; it is about to connect."""
        self.is_stopped = False
        self._last_error = None
        self._enter("connecting")

    # Signs of life.

    def frame_read(self, received_at: datetime) -> None:
        """A frame of any kind was read."""
        self._frames += 1
        self._last_message_at = received_at
        self._last_message_s = trio.current_time()

    def heartbeat(self) -> None:
        """The broker said that it is alive."""
        self._last_heartbeat_at = self.now()

    # What happened besides.

    def count(self, name: str, number: int = 1) -> None:
        """Count something under a short stable name such as ``quote.no-greeks``."""
        self._counts[name] += number

    def odd_frame(
        self, violation: ProtocolViolation, secrets: Iterable[str] = ()
    ) -> None:
        """Count a frame that makes no sense, and keep it without the secrets."""
        self.count(f"odd.{violation.reason}")
        frame = violation.frame
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        self.odd_frames.append((violation.reason, text[:_KEPT_CHARACTERS]))
        logger.debug("feed.odd_frame broker=%s %s", self.broker, violation.reason)

    def subscriptions(
        self, *, wanted: int, subscription_count: int, without_line: int = 0
    ) -> None:
        """Say how many contracts are wanted, subscribed, and left without a line."""
        self._wanted, self._subscription_count = wanted, subscription_count
        self._without_line = without_line

    def greeks_awaited(self, *, warming: int, without_greeks: int) -> None:
        """Say how many subscribed contracts have brought no Greeks, yet or at all."""
        self._warming, self._without_greeks = warming, without_greeks

    def contracts_streamed(self, contract_keys: Iterable[ContractKey]) -> None:
        """Say which contracts are subscribed on this connection, in place of before."""
        now = trio.current_time()
        before = self._streamed
        self._streamed = {key: before.get(key, now) for key in contract_keys}

    # What others read.

    def session(self) -> StreamSession:
        """Return the state as the status page shows it."""
        return StreamSession(
            broker=self.broker,
            status=self._status,
            last_heartbeat_at=self._last_heartbeat_at,
            last_message_at=self._last_message_at,
            reconnect_attempt=self._reconnect_attempt,
            subscription_count=self._subscription_count,
            last_error=(
                STOPPING_BY_REQUEST if self._stop_asked_at else self._last_error
            ),
        )

    def streamed(self) -> Mapping[ContractKey, float]:
        """Return when each contract was subscribed on this connection.

        Seconds of the monotonic clock (`trio.current_time`).
        """
        return self._streamed

    def statistics(self) -> FeedStatistics:
        """Return the counters."""
        return FeedStatistics(
            frames=self._frames,
            counts=dict(self._counts),
            wanted=self._wanted,
            subscription_count=self._subscription_count,
            without_line=self._without_line,
            warming=self._warming,
            without_greeks=self._without_greeks,
            reconnects=max(0, self._connections - 1),
        )

    def _start_gap(self, reason: GapReason) -> None:
        """Start the gap of the feed.  It began with the last frame.

        After a start request the gap of the stop request is still open.  If the new
        connection fails, that gap ends and the gap of the failure begins now.
        """
        gap = self.gaps.feed_gap()
        is_started_again = not self.is_stopped and (
            gap is not None and gap.reason is GapReason.STOPPED_BY_REQUEST
        )
        if is_started_again:
            self.gaps.ended()
            self.gaps.started(reason)
        else:
            self._start_gap_at_last_frame(reason)

    def _start_gap_at_last_frame(self, reason: GapReason) -> None:
        since = self._last_message_at
        since_s = None if since is None else self._last_message_s
        self.gaps.started(reason, since=since, since_s=since_s)

    def _established(self, status: SessionStatus, reason: str | None) -> None:
        if self._status not in ("connected", "degraded"):
            self._connections += 1
        self._enter(status)
        self._reconnect_attempt = 0
        self._last_error = reason
        self.gaps.ended()

    def _enter(self, status: SessionStatus) -> None:
        self._status = status
        self._status_changed.wake()
