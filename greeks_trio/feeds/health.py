"""The health of one feed: its state, its signs of life and its counters.

The feed and its supervisor write here.  The HTTP interface, the log line of every minute
and the table of the demo read `FeedHealth.session` and `FeedHealth.statistics`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

import trio

from greeks_trio.errors import ProtocolViolation
from greeks_trio.feeds.account_values import AccountValuesLog
from greeks_trio.feeds.feed_statistics import ContractCounts, FeedStatistics
from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.feeds.last_read import LastRead
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.feeds.sharing import Sharing
from greeks_trio.foreign_text import clean
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import (
    Broker,
    KeptPayloads,
    SessionStatus,
    StreamSession,
)
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.waiting import WakeUp, utc_now

logger = logging.getLogger(__name__)

_STOPPED: Final = GapReason.STOPPED_BY_REQUEST.value
STOPPING_BY_REQUEST: Final = "stopped by request, but its connection has not ended yet"

_STREAMING: Final = ("connected", "degraded")

KEPT_ODD_FRAMES: Final = 100
# Enough to recognise a frame, which may have several MiB.
_KEPT_CHARACTERS: Final = 4_000


class FeedHealth:
    """The health of one feed, across its connections.

    Attributes:
        gaps: The intervals without data.
        positions: The positions of the accounts.
        account_values: The values of the accounts.
        market_metrics: The betas and implied volatilities of underlyings.
        odd_frames: The last frames that could not be understood, oldest first: the
            reason and the text.
        is_stopped: Whether a person has stopped the feed.
        accepts_delayed: Whether delayed data are a note (GREEKS_ACCEPT_DELAYED), and no
            fault.
        last_read: The times of the last frame and of the newest event.
        connection_changed_at: When the feed was connected, or lost its connection.  At
            first, when the service started.
        kept_payloads: The ticks that keep the broker's message (GREEKS_SOURCE_PAYLOAD).
        sharing: The state beside other services on the same logins.
        status_changed: Woken at each change of the state.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        *,
        now: Callable[[], datetime] = utc_now,
        compare_clock: Callable[[datetime, float, bool], object] | None = None,
        market_metrics: MetricsBoard | None = None,
    ) -> None:
        self.broker = broker
        self.now = now
        self.gaps = GapLog(broker, journal, now=now)
        self.positions = PositionLog(broker, journal, now=now)
        self.account_values = AccountValuesLog(broker, journal, now=now)
        self.market_metrics = market_metrics or MetricsBoard()
        self._compare_clock = compare_clock
        self.odd_frames: deque[tuple[str, str]] = deque(maxlen=KEPT_ODD_FRAMES)
        self._status: SessionStatus = "disconnected"
        self.connection_changed_at = now()
        self.is_stopped = False
        self.sharing = Sharing()
        self.accepts_delayed = False
        self.kept_payloads: KeptPayloads = "full"
        # When a person stopped the feed; `None` once its connection has ended.
        self._stop_asked_at: datetime | None = None
        self._last_heartbeat_at: datetime | None = None
        self.last_read = LastRead(now)
        self._reconnect_attempt = 0
        self._connections = 0
        self._last_error: str | None = None
        self._frames = 0
        self._counts: Counter[str] = Counter()
        self._contracts = ContractCounts()
        self._notes: tuple[str, ...] = ()
        # When each subscribed contract was subscribed, `trio.current_time`.
        self._streamed: dict[ContractKey, float] = {}
        self._exchanges: Mapping[ContractKey, str | None] = {}
        self._in_rotation: frozenset[ContractKey] = frozenset()
        self.status_changed = WakeUp()

    # The states of a connection, in order.

    def connecting(self) -> None:
        """Login, positions or socket are under way."""
        self._enter("connecting")

    def connected(self) -> None:
        """Login, socket and subscriptions are in place.  The gap of the feed ends."""
        if self._status != "connected":
            logger.info("feed.connected broker=%s", self.broker)
        self._established("connected", None)

    def degraded(self, reason: str, *, is_news: bool = True) -> None:
        """Data flow, but something is missing; ``reason`` says what, for a person.

        ``is_news`` says whether the log gets the reason of a feed that is degraded already.
        """
        if self._status != "degraded" or is_news:
            logger.warning("feed.degraded broker=%s reason=%s", self.broker, reason)
        self._established("degraded", reason)

    def noted(self, notes: Iterable[str]) -> None:
        """Set the notes of the present connection: shown, and no fault."""
        self._notes = tuple(notes)

    def disconnected(
        self,
        reason: str | None,
        *,
        attempt: int = 0,
        gap_reason: GapReason = GapReason.DISCONNECTED,
    ) -> None:
        """There is no connection.  The gap of the feed began with the last event or frame.

        Args:
            reason: For a person; `None` if no connection is wanted.
            attempt: The number of connections that have failed in a row.
            gap_reason: The reason of the gap.
        """
        connected_at = self.connection_changed_at if self.is_streaming else None
        self._enter("disconnected")
        self._last_error = reason
        self._reconnect_attempt = attempt
        self._contracts = ContractCounts(wanted=self._contracts.wanted)
        self._streamed = {}
        self._in_rotation = frozenset()
        self._notes = ()
        if reason is not None:
            self._start_gap(gap_reason)
        if connected_at is not None:
            gap = self.gaps.feed_gap()
            ended_at = gap.started_at if gap else self.connection_changed_at
            self.sharing.ended_connections.append((connected_at, ended_at))

    def service_stopped(self) -> None:
        """The service ends.  The next run ends the gap that starts here."""
        self._start_gap_at_last_read(GapReason.STOPPED)

    async def wait_status(self, *statuses: SessionStatus) -> None:
        """Wait until the feed is in one of these states."""
        while self._status not in statuses:
            await self.status_changed.wait()

    # Requests of a person.

    def stop_requested(self) -> None:
        """A person has stopped the feed; its connection is about to end."""
        self._stop_asked_at = self.now()

    def stopped_by_request(self) -> None:
        """The connection has ended because a person has stopped the feed.

        A new gap starts with the request.  An outage that was under way ends at the same
        moment, because its real end cannot be known any more.
        """
        asked_at, self._stop_asked_at = self._stop_asked_at, None
        self.is_stopped = True
        self.gaps.ended()
        self.gaps.started(GapReason.STOPPED_BY_REQUEST, since=asked_at)
        self.disconnected(GapReason.STOPPED_BY_REQUEST.value)

    def start_requested(self) -> None:
        """A person has started the feed again; it is about to connect."""
        self.is_stopped = False
        self._last_error = None
        self._enter("connecting")

    # Signs of life.

    def frames_read(self, number: int, received_at: datetime) -> None:
        """So many frames of any kind were read together."""
        self._frames += number
        self.last_read.frames(received_at)

    def stood_still(self, seconds: float) -> None:
        """The process has stood still for so long, and goes on now."""
        # Ticks may flow while the last contracts are still being subscribed.
        if self._status != "disconnected":
            self.last_read.stood_still(seconds)

    def heartbeat(self) -> None:
        """The broker sent a heartbeat."""
        self._last_heartbeat_at = self.now()

    def date_read(self, date: datetime, round_trip_s: float, *, is_here: bool) -> None:
        """The broker has answered a request, with its time in whole seconds.

        Args:
            date: The broker's time.
            round_trip_s: Seconds from the request to the answer.
            is_here: Whether the answer came from this machine.
        """
        if self._compare_clock is not None:
            self._compare_clock(date, round_trip_s, is_here)

    def tell_again(self) -> None:
        """Record the positions and the open gaps once more, for another database."""
        self.gaps.tell_again()
        self.positions.tell_again()

    # Counters.

    def count(self, name: str, number: int = 1) -> None:
        """Count an event under a short stable name such as ``quote.no-greeks``."""
        self._counts[name] += number

    def odd_frame(self, violation: ProtocolViolation) -> None:
        """Count a frame that could not be understood, and keep it without the secrets."""
        self.count(f"odd.{violation.reason}")
        frame = violation.frame
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        self.odd_frames.append((violation.reason, clean(text, limit=_KEPT_CHARACTERS)))
        logger.debug("feed.odd_frame broker=%s %s", self.broker, violation.reason)

    def subscriptions(self, *, wanted: int, subscription_count: int) -> None:
        """Set how many contracts are wanted, and how many are subscribed."""
        self._contracts = replace(
            self._contracts, wanted=wanted, subscription_count=subscription_count
        )

    def rotation(
        self,
        contract_keys: Iterable[ContractKey],
        *,
        lines: int,
        seen_within_s: float,
        longest_s: float,
    ) -> None:
        """Set which contracts share lines, and the times of their turns."""
        self._in_rotation = frozenset(contract_keys)
        self._contracts = replace(
            self._contracts,
            in_rotation=len(self._in_rotation),
            rotation_lines=lines,
            rotation_seen_within_s=seen_within_s,
            rotation_longest_s=longest_s,
        )

    def greeks_awaited(self, *, warming: int, without_greeks: int) -> None:
        """Set how many subscribed contracts have no Greeks yet, or none in time."""
        self._contracts = replace(
            self._contracts, warming=warming, without_greeks=without_greeks
        )

    def contracts_streamed(
        self,
        contract_keys: Iterable[ContractKey],
        exchanges: Mapping[ContractKey, str | None] = MappingProxyType({}),
    ) -> None:
        """Set which contracts are subscribed on this connection, and their exchanges."""
        self._exchanges = exchanges
        now = trio.current_time()
        before = self._streamed
        self._streamed = {key: before.get(key, now) for key in contract_keys}

    # For readers.

    @property
    def is_streaming(self) -> bool:
        """Whether the feed has its connection."""
        return self._status in _STREAMING

    def session(self) -> StreamSession:
        """Return the state as the status shows it."""
        return StreamSession(
            broker=self.broker,
            status=self._status,
            last_heartbeat_at=self._last_heartbeat_at,
            last_message_at=self.last_read.frame_at,
            reconnect_attempt=self._reconnect_attempt,
            subscription_count=self._contracts.subscription_count,
            last_error=(
                STOPPING_BY_REQUEST if self._stop_asked_at else self._last_error
            ),
            notes=(_STOPPED,)
            if self.is_stopped
            else (*self.sharing.notes(), *self._notes),
        )

    def streamed(self) -> Mapping[ContractKey, float]:
        """Return when each contract was subscribed, in seconds of the monotonic clock."""
        return self._streamed

    def exchange_of(self, contract_key: ContractKey) -> str | None:
        """Return the exchange of a subscribed contract, `None` if it is not known."""
        return self._exchanges.get(contract_key)

    def stale_after_s(self, contract_key: ContractKey, limit_s: float) -> float:
        """Return the age from which a contract is stale.

        A contract that shares a line is not expected to tick before its next turn.
        """
        if contract_key not in self._in_rotation:
            return limit_s
        return max(limit_s, self._contracts.rotation_seen_within_s)

    def statistics(self) -> FeedStatistics:
        """Return the counters."""
        return FeedStatistics(
            **asdict(self._contracts),
            frames=self._frames,
            counts=dict(self._counts),
            reconnects=max(0, self._connections - 1),
        )

    def _start_gap(self, reason: GapReason) -> None:
        """Start the gap of the feed, unless it is open; it began with the last event or frame.

        After a start by a person, the gap of the stop is still open.  If the first
        connection then fails, that gap ends and the gap of the failure begins now.
        """
        gap = self.gaps.feed_gap()
        is_started_again = not self.is_stopped and (
            gap is not None and gap.reason is GapReason.STOPPED_BY_REQUEST
        )
        if is_started_again:
            self.gaps.ended()
            self.gaps.started(reason)
        else:
            self._start_gap_at_last_read(reason)

    def _start_gap_at_last_read(self, reason: GapReason) -> None:
        since, since_s = self.last_read.take_gap_start()
        self.gaps.started(reason, since=since, since_s=since_s)

    def _established(self, status: SessionStatus, reason: str | None) -> None:
        if not self.is_streaming:
            self._connections += 1
        self._enter(status)
        self._reconnect_attempt = 0
        self._last_error = reason
        self.gaps.ended()

    def _enter(self, status: SessionStatus) -> None:
        if (status in _STREAMING) != self.is_streaming:
            self.connection_changed_at = self.now()
        self._status = status
        self.status_changed.wake()
