"""The task that keeps the leases of all feeds, on a connection of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.leases.feed_watch import FeedLeaseWatch
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.lease import RENEW_S
from greeks_trio.waiting import Backoff, WakeUp

logger = logging.getLogger(__name__)

_LIMIT_S: Final = 10.0
_END_LIMIT_S: Final = 1.0
_TABLES_IN_S: Final = 5.0


async def run_feed_leases(
    config: Callable[[], DatabaseConfig],
    feeds: Sequence[FeedLeaseWatch],
    again: WakeUp,
) -> NoReturn:
    """Look at the leases every few seconds and at each change of a feed, until cancelled.

    At the end the leases are given back, within a second.  Without a database the feeds
    go on as they were.

    Args:
        config: Returns the present configuration of the database.
        feeds: The feed of each enabled broker.
        again: The database is another one.
    """
    changed = WakeUp()
    try:
        async with trio.open_nursery() as nursery:
            for feed in feeds:
                nursery.start_soon(_follow, feed.health.status_changed, changed)
            nursery.start_soon(_follow, again, changed)
            await _look_across_connections(config, feeds, again, changed)
    finally:
        with trio.move_on_after(_END_LIMIT_S, shield=True):
            await _give_back(config, feeds)
    raise AssertionError("it runs until it is cancelled")


async def _follow(source: WakeUp, changed: WakeUp) -> NoReturn:
    """Pass each call on, until cancelled."""
    while True:
        await source.wait()
        changed.wake()


async def _look_across_connections(
    config: Callable[[], DatabaseConfig],
    feeds: Sequence[FeedLeaseWatch],
    again: WakeUp,
    changed: WakeUp,
) -> NoReturn:
    backoff, told = Backoff(min_delay_s=0.2, max_delay_s=RENEW_S), ""
    began_at = trio.current_time()
    while True:
        seen = again.calls
        try:
            async with open_connection(config(), autocommit=True) as connection:
                for feed in feeds:
                    feed.begin()
                while again.calls == seen:
                    calls = changed.calls
                    await _look(connection, feeds)
                    backoff.reset()
                    told = ""
                    interval_s = min(
                        (each.interval_s for each in feeds), default=RENEW_S
                    )
                    with trio.move_on_after(interval_s):
                        await changed.wait_beyond(calls)
        except* StoreError as group:
            reason = plain_reason(group)
            for feed in feeds:
                feed.lease.is_settled = False
            if reason != told:
                # At first the tables are made by others.
                is_late = bool(told) or trio.current_time() > began_at + _TABLES_IN_S
                level = logging.WARNING if is_late else logging.INFO
                logger.log(level, "lease.not_kept reason=%s", reason)
                told = reason
            await backoff.wait()


async def _look(
    connection: psycopg.AsyncConnection[Any], feeds: Sequence[FeedLeaseWatch]
) -> None:
    for feed in feeds:
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            await feed.look(connection)


async def _give_back(
    config: Callable[[], DatabaseConfig], feeds: Sequence[FeedLeaseWatch]
) -> None:
    """Give the leases back, so that another service takes them at once."""
    if not any(feed.has_told for feed in feeds):
        return
    try:
        async with open_connection(config(), autocommit=True) as connection:
            for feed in feeds:
                with translated(connection, may_refuse=False):
                    await feed.give_back(connection)
    except* StoreError as group:
        logger.info("lease.not_given_back reason=%s", plain_reason(group))
