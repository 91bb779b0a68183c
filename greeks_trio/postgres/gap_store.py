"""Store gaps in `feed_gaps`: the times without data of any service.

With one service, its gaps are the rows.  With several on the same logins, a time at which
one of them had the feed is no gap.  Each row is written once: in a transaction that holds
the row of the lease, after the gaps that are stored already were taken off.  So the service
that knows of a gap may write it, also without the lease.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from greeks_trio.errors import GapUndecided
from greeks_trio.model.coverage import OPEN, Interval, without
from greeks_trio.model.gap_reasons import OF_TICKS, GapReason
from greeks_trio.model.records import WATCHLIST_ACCOUNT, FeedGap, LeftoverGaps
from greeks_trio.postgres.feed_coverage import (
    KEPT,
    Coverage,
    has_others,
    last_covered,
    read_others,
    read_own,
)
from greeks_trio.postgres.feed_lease import FeedLease

logger = logging.getLogger(__name__)

# The start of a gap may be written again after its end.
_UPSERT_GAP: Final = """
insert into feed_gaps
    (broker, account_id, contract_key, started_at, ended_at, reason)
values (%s, %s, %s, %s, %s, %s)
on conflict on constraint feed_gaps_key
    do update set ended_at = coalesce(excluded.ended_at, feed_gaps.ended_at)
"""
# It names our own gaps and does not compare times: the clock of an earlier run may have
# been wrong, so that its gaps begin in the future.  Such a gap keeps its true duration, see
# the view `outages`.  The sum is one of times without a zone, because Citus refuses to add
# to a time with a zone here.
_END_LEFTOVER_GAPS: Final = """
update feed_gaps
set ended_at = greatest(
    started_at,
    (
        %(ended_at)s::timestamptz at time zone 'UTC'
        + (started_at - least(started_at, coalesce(recorded_at, started_at)))
    ) at time zone 'UTC'
)
where broker = %(broker)s and ended_at is null
  and (contract_key is null or %(of_contracts)s)
  and (started_at <= %(ended_at)s or %(is_alone)s)
  and not exists (
      select from unnest(%(keys)s::text[], %(starts)s::timestamptz[])
          as own (contract_key, started_at)
      where own.contract_key is not distinct from feed_gaps.contract_key
        and own.started_at = feed_gaps.started_at)
"""
_LOCK: Final = "select from leases where name = %s for update"
_STORED: Final = """
select started_at, coalesce(ended_at, %s::timestamptz)
from feed_gaps
where broker = %s and contract_key is null and reason <> all(%s)
  and coalesce(ended_at, 'infinity') > %s and started_at < %s
"""
# The feed is back with one of the services.
_END_FEED_GAPS: Final = """
update feed_gaps set ended_at = %s
where broker = %s and contract_key is null and ended_at is null and started_at <= %s
  and reason <> all(%s)
"""
_HAS_TICK: Final = """
select exists (
    select from greek_snapshots
    where broker = %(broker)s and contract_key = %(key)s
      and account_id = any(array(
          select distinct account_id from positions
          where broker = %(broker)s and contract_key = %(key)s
          union all select %(watchlist)s))
      and event_time > %(start)s::timestamptz - interval '1 minute'
      and received_at > %(start)s and received_at < %(end)s::timestamptz
)
"""
# A run says each second that it is alive, so it was killed up to a second later, and a
# shorter time between its last sign and the feed of another service is perhaps none.
_LAST_SIGN: Final = timedelta(seconds=1.5)
_END_GAP: Final = """
update feed_gaps set ended_at = %(end)s
where broker = %(broker)s and contract_key = %(key)s and started_at = %(start)s
  and ended_at is null
"""


async def write_gap(
    connection: psycopg.AsyncConnection[Any], gap: FeedGap, lease: FeedLease | None
) -> None:
    """Store the gap, or the parts of it at which no other service had the feed.

    Args:
        connection: In autocommit.
        gap: Its start, or its end.
        lease: That of the broker; without one there is no other service.

    Raises:
        GapUndecided: whether another service had the feed is not known yet.
    """
    others: Sequence[Coverage] = ()
    if lease is not None and gap.reason not in OF_TICKS:
        others = await _read_others(connection, gap, lease)
    if lease is None or gap.reason in OF_TICKS:
        await _upsert(connection, gap)
    elif not others:
        await _write_alone(connection, gap, lease)
    elif gap.contract_key is not None:
        await _write_of_contract(connection, gap, lease, others)
    else:
        await _write_of_feed(connection, gap, lease, others)


async def end_leftover_gaps(
    connection: psycopg.AsyncConnection[Any],
    leftover: LeftoverGaps,
    lease: FeedLease | None,
) -> None:
    """End the gaps that an earlier run, or another holder of the lease, has left open.

    With several services, the time of this one without the feed becomes known here.

    Raises:
        GapUndecided: whether another service had the feed is not known yet.
    """
    gap: FeedGap | None = None
    others: Sequence[Coverage] = ()
    if lease is not None:
        gap, others = await _time_without_feed(connection, leftover, lease)
    async with connection.transaction():
        if lease is not None:
            await connection.execute(_LOCK, [lease.name])
        if gap is not None and lease is not None:
            await _write_parts(connection, gap, lease, others, at_least=_LAST_SIGN)
        values = {
            "is_alone": not others,
            "ended_at": leftover.ended_at,
            "broker": leftover.broker,
            "of_contracts": lease is None or not lease.is_elsewhere,
            "keys": [contract_key for contract_key, _ in leftover.own],
            "starts": [started_at for _, started_at in leftover.own],
        }
        await connection.execute(_END_LEFTOVER_GAPS, values)


async def _read_others(
    connection: psycopg.AsyncConnection[Any], gap: FeedGap, lease: FeedLease
) -> list[Coverage]:
    others = await read_others(connection, gap.broker, lease.holder, gap.started_at)
    _check_settled(lease, others)
    return others


def _check_settled(lease: FeedLease, others: Sequence[Coverage]) -> None:
    is_open = not all(each.is_ended for each in others)
    if (is_open and not lease.is_settled) or (others and not lease.knows_earlier):
        raise GapUndecided("another service may have the feed; it has not said so yet")


def _check_heard(end: datetime, others: Sequence[Coverage]) -> None:
    """Check that each service that lives has said whether it had the feed until then."""
    if any(
        each.is_alive and each.started_at < end and each.covered_until < end
        for each in others
    ):
        raise GapUndecided("another service has not said yet that it had the feed")


async def _write_alone(
    connection: psycopg.AsyncConnection[Any], gap: FeedGap, lease: FeedLease
) -> None:
    """Store a gap in which no other service was connected.

    Another one may have told of the same time, and of a time that ends with the feed of
    this one.
    """
    async with connection.transaction():
        if gap.contract_key is not None or not await has_others(
            connection, gap.broker, lease.holder
        ):
            await _upsert(connection, gap)
            return
        await connection.execute(_LOCK, [lease.name])
        if gap.ended_at is not None:
            await _end_feed_gaps(connection, gap.broker, gap.ended_at)
        await _write_parts(connection, gap, lease, ())


async def _end_feed_gaps(
    connection: psycopg.AsyncConnection[Any], broker: str, ended_at: datetime
) -> None:
    reasons = [each.value for each in OF_TICKS]
    await connection.execute(_END_FEED_GAPS, [ended_at, broker, ended_at, reasons])


async def _upsert(connection: psycopg.AsyncConnection[Any], gap: FeedGap) -> None:
    await connection.execute(
        _UPSERT_GAP,
        [
            gap.broker,
            gap.account_id,
            gap.contract_key,
            gap.started_at,
            gap.ended_at,
            gap.reason,
        ],
    )


async def _write_of_contract(
    connection: psycopg.AsyncConnection[Any],
    gap: FeedGap,
    lease: FeedLease,
    others: Sequence[Coverage],
) -> None:
    """Store the gap of a contract, unless the holder does it or there were ticks."""
    if not any(each.is_alive for each in others):
        await _upsert(connection, gap)
        return
    values: dict[str, object] = {
        "broker": gap.broker,
        "key": gap.contract_key,
        "start": gap.started_at,
        "end": gap.ended_at or OPEN,
        "watchlist": WATCHLIST_ACCOUNT,
    }
    async with connection.transaction():
        if not (lease.is_elsewhere or await _has_tick(connection, values)):
            await _upsert(connection, gap)
            return
        lease.left_gaps = True
        if gap.ended_at is not None:
            await connection.execute(_END_GAP, values)


async def _has_tick(
    connection: psycopg.AsyncConnection[Any], values: dict[str, object]
) -> bool:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_HAS_TICK, values)
    [(has_tick,)] = await cursor.fetchall()
    return bool(has_tick)


async def _write_of_feed(
    connection: psycopg.AsyncConnection[Any],
    gap: FeedGap,
    lease: FeedLease,
    others: Sequence[Coverage],
) -> None:
    """Store the parts of the gap of the whole feed at which no other service had it."""
    if gap.ended_at is not None:
        _check_heard(gap.ended_at, others)
    elif any(each.is_alive for each in others):
        lease.left_gaps = True
        return
    async with connection.transaction():
        await connection.execute(_LOCK, [lease.name])
        if gap.ended_at is not None:
            await _end_feed_gaps(connection, gap.broker, gap.ended_at)
        await _write_parts(connection, gap, lease, others)


async def _write_parts(
    connection: psycopg.AsyncConnection[Any],
    gap: FeedGap,
    lease: FeedLease,
    others: Sequence[Coverage],
    *,
    at_least: timedelta = timedelta(0),
) -> None:
    """Store the parts of the gap that no service covers and that no row has.

    A gap that was undecided for long may have ended with a later connection of this service.
    """
    interval = gap.started_at, gap.ended_at or OPEN
    own = await read_own(connection, gap.broker, lease.holder, gap.started_at)
    covered = [*own, *(each.interval for each in others)]
    if gap.reason is GapReason.KILLED:
        at_least = _LAST_SIGN
    for part in await _unstored(connection, gap, interval, covered):
        if (part.ended_at or OPEN) - part.started_at >= at_least:
            await _upsert(connection, part)


async def _unstored(
    connection: psycopg.AsyncConnection[Any],
    gap: FeedGap,
    interval: Interval,
    covered: Sequence[Interval],
) -> list[FeedGap]:
    """Return the parts of the gap that were not covered and that no row has."""
    start, end = interval
    cursor = connection.cursor(row_factory=tuple_row)
    reasons = [each.value for each in OF_TICKS]
    await cursor.execute(_STORED, [OPEN, gap.broker, reasons, start, end])
    stored = await cursor.fetchall()
    return [
        FeedGap(
            broker=gap.broker,
            started_at=part_start,
            ended_at=None if part_end == OPEN else part_end,
            reason=gap.reason,
        )
        for part_start, part_end in without(interval, [*covered, *stored])
    ]


async def _time_without_feed(
    connection: psycopg.AsyncConnection[Any], leftover: LeftoverGaps, lease: FeedLease
) -> tuple[FeedGap | None, list[Coverage]]:
    """Return the time since this service had the feed, and when others had it.

    No row may tell of it: of two services one may have been killed before it connected, or
    one stopped, and the other one lost with its machine.  Without others, the rows of the
    earlier run tell of it.
    """
    broker, end = leftover.broker, leftover.ended_at
    last = await last_covered(connection, broker, lease.holder, end)
    # Without the times of the killed run, all are of interest.
    since = (last or end) if lease.knows_earlier else end - KEPT
    others = await read_others(connection, broker, lease.holder, since)
    _check_settled(lease, others)
    if last is None or not others:
        return None, others
    _check_heard(end, others)
    reason = GapReason.KILLED if lease.follows_killed else GapReason.STOPPED
    gap = FeedGap(broker=broker, started_at=last, ended_at=end, reason=reason)
    return (gap if last < end else None), others
