"""The table `feed_coverage`: the times at which each service had the feed of a broker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import args_row, tuple_row

from greeks_trio.model.coverage import OPEN, Interval
from greeks_trio.postgres.lease import RENEW_S

# A service that has not renewed for so long has no feed, or no connection to the database.
ALIVE_S: Final = 4 * RENEW_S
# Gaps are told within minutes, or after the outage of a database.
KEPT: Final = timedelta(days=30)

_COVER: Final = """
insert into feed_coverage
    (broker, holder, started_at, covered_until, renewed_at, ended, accounts)
values (%s, %s, %s, %s, least(now(), %s), %s, %s)
on conflict on constraint feed_coverage_pkey do update set
    covered_until = excluded.covered_until,
    renewed_at = excluded.renewed_at,
    ended = excluded.ended,
    accounts = coalesce(excluded.accounts, feed_coverage.accounts)
"""
# Versions before 0022 do not name them.
_ACCOUNTS: Final = """
select accounts from feed_coverage
where broker = %s and holder = %s
order by started_at desc
limit 1
"""
# A killed run of this service has not said its end, and its last words are some seconds old.
_LAST_OPEN: Final = """
select max(started_at) filter (where not ended) from feed_coverage
where broker = %s and holder = %s having bool_or(not ended)
"""
_LAST_STARTED: Final = """
select max(started_at) from feed_coverage where broker = %s and holder = %s
"""
_EXTEND: Final = """
update feed_coverage set covered_until = %s
where broker = %s and holder = %s and started_at = %s and covered_until < %s
"""
_END_EARLIER: Final = """
update feed_coverage set ended = true
where broker = %s and holder = %s and not ended
"""
_FORGET: Final = """
delete from feed_coverage
where broker = %s and holder = %s and renewed_at < now() - %s
"""
_OTHERS: Final = """
select started_at, covered_until,
       not ended and renewed_at > now() - %s * interval '1 s', ended
from feed_coverage
where broker = %s and holder <> %s and (covered_until >= %s or not ended)
"""
_HAD_LATELY: Final = """
select exists (
    select from feed_coverage
    where broker = %(broker)s and holder = %(holder)s and ended = %(has_ended)s
      and renewed_at > now() - %(within_s)s * interval '1 s'
)
"""
# The time of the present connection has just begun.
_LAST_OWN: Final = """
select max(covered_until), coalesce(bool_or(not ended), false) from feed_coverage
where broker = %s and holder = %s and started_at < %s::timestamptz - interval '1 s'
"""
_LAST_OTHERS: Final = """
select max(covered_until) from feed_coverage
where broker = %s and holder <> %s and started_at < %s
"""


# The time of a connection that stands has no end.
_OWN: Final = """
select started_at, case when ended then covered_until else %s::timestamptz end
from feed_coverage
where broker = %s and holder = %s and started_at >= %s
"""


_HAS_OTHERS: Final = """
select exists (select from feed_coverage where broker = %s and holder <> %s)
"""


class Coverage(NamedTuple):
    """A time at which another service had the feed.

    Attributes:
        is_alive: Whether it has the feed now.
        is_ended: Whether it has said that its connection has ended.
    """

    started_at: datetime
    covered_until: datetime
    is_alive: bool
    is_ended: bool

    @property
    def interval(self) -> Interval:
        """The time itself."""
        return self.started_at, self.covered_until


async def cover(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    interval: Interval,
    *,
    is_ended: bool,
    accounts: Sequence[str] = (),
) -> None:
    """Write that this service has, or had, the feed in this time.

    Args:
        connection: In autocommit.
        broker: The broker.
        holder: This service.
        interval: The time.
        is_ended: Whether the connection has ended.
        accounts: The accounts that the connection reads.
    """
    start, end = interval
    named = list(accounts) or None
    end = max(start, end)
    renewed_until = end if is_ended else OPEN
    values = [broker, holder, start, end, renewed_until, is_ended, named]
    await connection.execute(_COVER, values)


async def read_accounts(
    connection: psycopg.AsyncConnection[Any], broker: str, holder: str
) -> Sequence[str] | None:
    """Return the accounts that a service reads, `None` if it does not say so."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_ACCOUNTS, [broker, holder])
    row = await cursor.fetchone()
    return row[0] if row is not None else None


async def last_started(
    connection: psycopg.AsyncConnection[Any], broker: str, holder: str
) -> datetime | None:
    """Return when the last connection began that this service has told of."""
    cursor = connection.cursor(row_factory=tuple_row)
    started_at: datetime | None
    await cursor.execute(_LAST_STARTED, [broker, holder])
    [(started_at,)] = await cursor.fetchall()
    return started_at


async def end_earlier(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    ends: Sequence[datetime] = (),
) -> bool:
    """End the times of earlier connections of this service, and delete old ones.

    Args:
        connection: In autocommit.
        broker: The broker.
        holder: This service.
        ends: Until when earlier runs had the feed.  The first one after the beginning of
            the last time is its end.

    Returns:
        Whether one had not said its end.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_LAST_OPEN, [broker, holder])
    for (start,) in await cursor.fetchall():
        if after := [each for each in ends if each >= start]:
            values = [min(after), broker, holder, start, min(after)]
            await connection.execute(_EXTEND, values)
    ended = await connection.execute(_END_EARLIER, [broker, holder])
    await connection.execute(_FORGET, [broker, holder, KEPT])
    return bool(ended.rowcount)


async def read_others(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    since: datetime,
) -> list[Coverage]:
    """Return when other services had the feed; times that ended before are left out."""
    cursor = connection.cursor(row_factory=args_row(Coverage))
    await cursor.execute(_OTHERS, [ALIVE_S, broker, holder, since])
    return await cursor.fetchall()


async def had_feed_lately(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    within_s: float,
    *,
    has_ended: bool,
) -> bool:
    """Return whether another service had the feed a moment ago.

    Args:
        connection: In autocommit.
        broker: The feed.
        holder: The other service.
        within_s: How long ago it may have said so.
        has_ended: Whether it has said the end of that time.
    """
    values = {
        "broker": broker,
        "holder": holder,
        "has_ended": has_ended,
        "within_s": within_s,
    }
    cursor = await connection.execute(_HAD_LATELY, values)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def has_others(
    connection: psycopg.AsyncConnection[Any], broker: str, holder: str
) -> bool:
    """Return whether another service ever had the feed."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_HAS_OTHERS, [broker, holder])
    [(found,)] = await cursor.fetchall()
    return bool(found)


async def read_own(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    since: datetime,
) -> list[Interval]:
    """Return when this service had the feed, on connections that began since then."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_OWN, [OPEN, broker, holder, since])
    return await cursor.fetchall()


async def last_covered(
    connection: psycopg.AsyncConnection[Any],
    broker: str,
    holder: str,
    before: datetime,
) -> datetime | None:
    """Return until when this service had the feed before a connection.

    A service that never had it, such as a container with a new name, gets the time of the
    others.

    Returns:
        `None` if none of them had it, or if that connection is not the first one.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_LAST_OWN, [broker, holder, before])
    [(until, goes_on)] = await cursor.fetchall()
    if until is None:
        await cursor.execute(_LAST_OTHERS, [broker, holder, before])
        [(until,)] = await cursor.fetchall()
        if until is not None:
            # The last words of one that was killed are older than its end.
            until = min(until + timedelta(seconds=RENEW_S), before)
    return None if goes_on else until
