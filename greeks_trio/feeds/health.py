"""How one broker's feed is doing: its state, signs of life, counters and gaps.

The feed and its supervisor write here; the HTTP interface, the canonical log line and
the demo's table read `FeedHealth.session` and `FeedHealth.statistics`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import trio

from greeks_trio.errors import ProtocolViolation
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import (
    Broker,
    FeedGap,
    Position,
    PositionsSnapshot,
    SessionStatus,
    StreamSession,
)
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# What a person did is told from what went wrong, in the session and in the gap.
STOPPED_BY_REQUEST: Final = "stopped by request"
STOPPING_BY_REQUEST: Final = "stopped by request, but its connection has not ended yet"

KEPT_ODD_FRAMES: Final = 100
# Enough to recognise a frame by; a frame may have several MiB.
_KEPT_CHARACTERS: Final = 4_000

_SECOND: Final = timedelta(seconds=1)
# Clocks that differ by less are the same: they are slewed all the time.
_SET_BACK: Final = timedelta(seconds=1)


def utc_now() -> datetime:
    """Return the wall clock, UTC."""
    return datetime.now(UTC)


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
        # The last frames that made no sense, oldest first: (reason, text).
        self.odd_frames: deque[tuple[str, str]] = deque(maxlen=KEPT_ODD_FRAMES)
        self._journal = journal
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
        # Open gaps by contract; the key `None` is the whole feed's.
        self._gaps: dict[ContractKey | None, FeedGap] = {}
        # And when they began by the monotonic clock.
        self._gaps_began: dict[ContractKey | None, float] = {}
        # By accounts: what they held at the last look, and which were incomplete.
        self._positions: dict[
            tuple[str, ...], tuple[tuple[Position, ...], tuple[str, ...]]
        ] = {}
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
        gap_reason: str = "disconnected",
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
            self.gap_started(gap_reason, since=self._gap_since())

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
        self.gap_ended()
        self.gap_started(STOPPED_BY_REQUEST, since=asked_at)
        self.disconnected(STOPPED_BY_REQUEST)

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

    def positions_read(
        self,
        account_ids: Sequence[str],
        positions: Sequence[Position],
        *,
        incomplete: Iterable[str] = (),
    ) -> None:
        """Journal what the accounts hold if it differs from the last time.

        Name an account as ``incomplete`` for as long as a position of it could not be
        read and may be one that an earlier run has recorded: then nothing of it is
        closed for not being among ``positions``.  What is closed for certain goes into
        ``positions`` with quantity 0.
        """
        accounts, held = tuple(account_ids), tuple(positions)
        look = (held, tuple(sorted(incomplete)))
        if self._positions.get(accounts) == look:
            return
        self._positions[accounts] = look
        self._journal.record(
            PositionsSnapshot(
                broker=self.broker,
                account_ids=accounts,
                positions=held,
                observed_at=self.now(),
                incomplete_account_ids=look[1],
            )
        )
        logger.info("feed.positions broker=%s positions=%d", self.broker, len(held))

    def contracts_streamed(self, contract_keys: Iterable[ContractKey]) -> None:
        """Say which contracts are subscribed on this connection, in place of before."""
        now = trio.current_time()
        before = self._streamed
        self._streamed = {key: before.get(key, now) for key in contract_keys}

    def gap_started(
        self,
        reason: str,
        contract_key: ContractKey | None = None,
        *,
        since: datetime | None = None,
    ) -> None:
        """Journal the start of an interval without data, unless it has started.

        It starts now, or has started at ``since``.
        """
        if contract_key in self._gaps:
            return
        now = self.now()
        gap = FeedGap(
            broker=self.broker,
            contract_key=contract_key,
            started_at=since or now,
            reason=reason,
        )
        self._gaps[contract_key] = gap
        began_s = trio.current_time() - max(0.0, (now - gap.started_at) / _SECOND)
        if since is not None and since == self._last_message_at:
            began_s = self._last_message_s
        self._gaps_began[contract_key] = began_s
        self._journal.record(gap)

    def gap_ended(self, contract_key: ContractKey | None = None) -> None:
        """Journal the end of the interval, if one had started.

        When the clock was set back meanwhile, the interval is told by both clocks: the
        ticks around it have the times of either.
        """
        gap = self._gaps.pop(contract_key, None)
        if gap is None:
            return
        lasted = (trio.current_time() - self._gaps_began.pop(contract_key)) * _SECOND
        now = self.now()
        self._journal.record(
            msgspec.structs.replace(gap, ended_at=max(now, gap.started_at + lasted))
        )
        if now - lasted < gap.started_at - _SET_BACK:
            self._journal.record(
                msgspec.structs.replace(gap, started_at=now - lasted, ended_at=now)
            )

    def open_gaps(self) -> list[FeedGap]:
        """Return the intervals without data that have not ended."""
        return list(self._gaps.values())

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

    def _gap_since(self) -> datetime | None:
        """Return when a gap that is noticed now began, `None` for now.

        It began with the last frame.  But when a connection fails that was to end a
        stop by request, the request has ended, and it is the failure from now on.
        """
        gap = self._gaps.get(None)
        if gap is None or gap.reason != STOPPED_BY_REQUEST or self.is_stopped:
            return self._last_message_at
        self.gap_ended()
        return None

    def _established(self, status: SessionStatus, reason: str | None) -> None:
        if self._status not in ("connected", "degraded"):
            self._connections += 1
        self._enter(status)
        self._reconnect_attempt = 0
        self._last_error = reason
        self.gap_ended()

    def _enter(self, status: SessionStatus) -> None:
        self._status = status
        self._status_changed.wake()
