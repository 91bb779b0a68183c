"""The lease of one feed: take it, renew it, give it back, and say when the feed streams.

Every service writes ticks, because their primary key stores each once.  Positions, account
values and gaps are written by the holder of the feed's lease.  The lease follows the feed:
a service without a connection gives it to one that asks for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.sharing import TAKES_SESSION_S
from greeks_trio.leases.faults import SharingFaults
from greeks_trio.model.coverage import Interval, between
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import LeftoverGaps
from greeks_trio.pipeline.journal import Journal
from greeks_trio.postgres.feed_coverage import (
    cover,
    end_earlier,
    had_feed_lately,
    last_started,
    read_others,
)
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.lease import RENEW_S
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# For so long the database must answer before others count as gone.
SETTLED_AFTER_S: Final = 10.0
# A feed with one session for each user gets so long to connect again.
_MAY_CONNECT_S: Final = 30.0
# After it gave the lease back, a service lets another one take it.
_LETS_OTHERS_S: Final = 15.0
# So exactly is the end of a killed service known to the others.
_WITH_OTHERS_S: Final = 1.0
# At the start, a feed waits so long for the first look at the lease.
_FIRST_LOOK_S: Final = 3.0


class FeedLeaseWatch:
    """The lease of one feed, and the times at which the feed streams.

    Args:
        lease: The lease; the journal reads it.
        journal: Takes the records that are told again with the lease.
        faults: Compares this service with the holder of the lease.
        is_exclusive: Whether the broker allows one session for each user.
        earlier_gaps: The times without the feed in earlier runs that the table may lack;
            `OPEN` is the end of one that has none.

    Attributes:
        interval_s: The time until the next look.
    """

    def __init__(
        self,
        health: FeedHealth,
        lease: FeedLease,
        journal: Journal,
        faults: SharingFaults,
        *,
        is_exclusive: bool,
        earlier_gaps: Sequence[Interval] = (),
    ) -> None:
        self.health = health
        self.lease = lease
        self._journal = journal
        self._faults = faults
        self._is_exclusive = is_exclusive
        self._earlier_gaps = earlier_gaps
        self.interval_s = RENEW_S
        self._looked = WakeUp()
        # When the connection began whose time is in the table; by the wall clock.
        self._covered_since: datetime | None = None
        # By the monotonic clock.
        self._first_look_at = math.inf
        self._not_streaming_since = -math.inf
        self._gave_back_at = -math.inf
        self._taken_at = -math.inf

    # The side of the feed.

    async def run_connection(self, connect: Callable[[], Awaitable[object]]) -> None:
        """Run one connection; a feed with one session for each user needs the lease.

        It ends as the connection does, by raising.  When another service takes the lease,
        the connection ends and the feed waits for the lease again.
        """
        if not self._is_exclusive:
            await connect()
            return
        with trio.move_on_after(_FIRST_LOOK_S):
            await self._looked.wait_beyond(0)
        while True:
            await self._wait_turn()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_without_lease, nursery.cancel_scope)
                await connect()

    async def _wait_turn(self) -> None:
        """Wait while another service has the lease."""
        sharing = self.health.sharing
        try:
            while self.lease.is_elsewhere:
                if not sharing.is_standby:
                    sharing.is_standby = True
                    self.health.disconnected(f"standby of {self.lease.elsewhere}")
                await self._looked.wait()
        finally:
            sharing.is_standby = False
        self.health.connecting()

    async def _end_without_lease(self, connection: trio.CancelScope) -> None:
        """Cancel the connection once another service has the lease; or until cancelled."""
        while not self.lease.is_elsewhere:
            await self._looked.wait()
        logger.warning(
            "lease.lost broker=%s holder=%s", self.lease.broker, self.lease.elsewhere
        )
        connection.cancel()

    # The side of the database.

    def begin(self) -> None:
        """Note that a connection to the database begins."""
        self._first_look_at = trio.current_time()
        self.lease.is_settled = False

    async def look(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Bring the lease and the times up to date.

        Args:
            connection: In autocommit.
        """
        lease, now = self.lease, trio.current_time()
        lease.is_settled = now - self._first_look_at >= SETTLED_AFTER_S
        if not lease.knows_earlier:
            await self._tell_earlier(connection)
        await self._cover(connection)
        before = lease.epoch
        if self._is_to_be_given_back():
            await lease.release(connection, ends=False)
            self._gave_back_at = now
        elif self._may_take(now):
            await lease.take(
                connection,
                from_expired=lease.is_settled,
                asks=self.health.is_streaming or self.health.sharing.is_standby,
            )
        self.health.sharing.holder = lease.elsewhere
        self.health.sharing.has_lease = lease.epoch is not None
        if lease.epoch is not None and lease.epoch != before:
            self._taken_at = now
            await self._was_taken(connection)
        await self._look_at_others(connection)
        await self._faults.judge(connection, lease, self.health)
        self._looked.wake()

    async def _tell_earlier(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """End the last connection of earlier runs, and tell of those after it."""
        lease, gaps = self.lease, self._earlier_gaps
        told = await last_started(connection, lease.broker, lease.holder)
        lease.follows_killed = await end_earlier(
            connection, lease.broker, lease.holder, [start for start, _ in gaps]
        )
        for interval in between(gaps):
            # Before, the table has each connection, and also gaps that no longer wait.
            if told is None or interval[0] > told:
                await self._cover_one(connection, interval, is_ended=True)
        lease.knows_earlier = True

    @property
    def has_told(self) -> bool:
        """Whether the database has something of this service that ends with it."""
        has_cover = self._covered_since is not None or self.health.is_streaming
        has_ended = bool(self.health.sharing.ended_connections)
        return self.lease.epoch is not None or has_cover or has_ended

    async def give_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """End the time of the feed and give the lease back, at the end of the service."""
        await self._end_cover(connection)
        gap = self.health.gaps.feed_gap()
        has_session = gap is None or gap.reason is GapReason.STOPPED
        await self.lease.release(connection, ends=has_session)

    def _may_take(self, now: float) -> bool:
        health = self.health
        is_first = health.is_streaming or health.sharing.is_standby
        return is_first or now >= self._gave_back_at + _LETS_OTHERS_S

    def _is_to_be_given_back(self) -> bool:
        """Return whether another service asks for the lease, and this one has no feed."""
        lease = self.lease
        if lease.epoch is None or self.health.is_streaming or not lease.is_wanted:
            return False
        down_s = trio.current_time() - max(self._not_streaming_since, self._taken_at)
        return not self._is_exclusive or down_s >= _MAY_CONNECT_S

    async def _was_taken(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Tell the records that were left to the last holder, and end its open gaps."""
        health, lease = self.health, self.lease
        await self._find_session(connection)
        health.positions.overtaken()
        if not (lease.left_records or lease.left_gaps):
            return
        lease.left_records = lease.left_gaps = False
        if health.is_streaming:
            own = tuple(
                (gap.contract_key, gap.started_at) for gap in health.gaps.open_gaps()
            )
            self._journal.record(
                LeftoverGaps(broker=lease.broker, own=own, ended_at=health.now())
            )
        health.tell_again()

    async def _find_session(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Decide whether the next connection takes the session of the last holder.

        If the last holder had no feed at its end, another program has the session.
        """
        lease, sharing = self.lease, self.health.sharing
        sharing.session_taken()
        if self._is_exclusive and lease.follows is not None:
            had_feed = await had_feed_lately(
                connection,
                lease.broker,
                lease.follows,
                TAKES_SESSION_S,
                has_ended=lease.follows_stopped,
            )
            if had_feed:
                sharing.take_session()

    async def _cover(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write since when and until when the feed streams, and its earlier connections."""
        health = self.health
        await self._cover_ended(connection)
        if not health.is_streaming:
            if self._not_streaming_since == math.inf:
                self._not_streaming_since = trio.current_time()
            return
        self._not_streaming_since = math.inf
        health.sharing.session_taken()
        since = health.connection_changed_at
        broker, holder = self.lease.broker, self.lease.holder
        if since != self._covered_since:
            await end_earlier(connection, broker, holder)
        self._covered_since = since
        await self._cover_one(connection, (since, health.now()), is_ended=False)

    async def _cover_ended(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write the times of ended connections, also of those without the database."""
        ended = self.health.sharing.ended_connections
        while ended:
            interval = ended[0]
            await self._cover_one(connection, interval, is_ended=True)
            ended.popleft()
            if interval[0] == self._covered_since:
                self._covered_since = None

    async def _end_cover(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write the end of the present connection, at the end of the service."""
        await self._cover_ended(connection)
        health = self.health
        since = health.connection_changed_at if health.is_streaming else None
        if (since := since or self._covered_since) is None:
            return
        gap = health.gaps.feed_gap()
        until = gap.started_at if gap else health.connection_changed_at
        await self._cover_one(connection, (since, until), is_ended=True)
        self._covered_since = None

    async def _cover_one(
        self,
        connection: psycopg.AsyncConnection[Any],
        interval: Interval,
        *,
        is_ended: bool,
    ) -> None:
        await cover(
            connection,
            self.lease.broker,
            self.lease.holder,
            interval,
            is_ended=is_ended,
            accounts=self.health.positions.account_ids,
        )

    async def _look_at_others(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Tell the open gaps that were left out, once no other service has the feed."""
        lease, gaps = self.lease, self.health.gaps
        others = await read_others(
            connection, lease.broker, lease.holder, self.health.now()
        )
        has_others = any(each.is_alive for each in others)
        self.interval_s = _WITH_OTHERS_S if has_others else RENEW_S
        if not (lease.is_settled and gaps.open_gaps()):
            return
        if has_others:
            # It may end a gap that this one has told, and lose its feed afterwards.
            lease.left_gaps = True
        elif lease.left_gaps:
            lease.left_gaps = False
            gaps.tell_again()
