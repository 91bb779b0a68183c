"""Faults of the configuration of two services on the same logins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import in_short
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.feed_coverage import read_accounts
from greeks_trio.postgres.feed_lease import FeedLease
from greeks_trio.postgres.lease import judge_name


class SharingFaults:
    """Begins and ends the conditions about two services that do not fit together."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions

    async def judge(
        self,
        connection: psycopg.AsyncConnection[Any],
        lease: FeedLease,
        health: FeedHealth,
    ) -> None:
        """Compare the names and the accounts.

        Args:
            connection: In autocommit.
            lease: That of the feed.
            health: The feed of this service.
        """
        judge_name(self._conditions, lease)
        self._judge_accounts(lease, await _not_stored(connection, lease, health))

    def _judge_accounts(self, lease: FeedLease, accounts: Sequence[str]) -> None:
        kind, subject = ConditionKind.ACCOUNTS_NOT_STORED, lease.broker
        if not accounts:
            self._conditions.end(kind, subject=subject)
            return
        self._conditions.begin(
            kind,
            f"lease: positions and values of {in_short('accounts', accounts)} are not "
            f"stored, because {lease.elsewhere} has the lease {lease.name} and does not "
            "read them; give both logins the same accounts, or each service a schema of "
            "its own (GREEKS_DB_SCHEMA)",
            subject=subject,
        )


async def _not_stored(
    connection: psycopg.AsyncConnection[Any], lease: FeedLease, health: FeedHealth
) -> Sequence[str]:
    """Return the accounts of this service that the holder of the lease does not read."""
    if lease.elsewhere is None or not health.is_streaming:
        return ()
    theirs = await read_accounts(connection, lease.broker, lease.elsewhere)
    if theirs is None:
        return ()
    return sorted(set(health.positions.account_ids).difference(theirs))
