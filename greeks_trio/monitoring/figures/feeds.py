"""Figures of the contracts and of the feeds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, get_args

import msgspec

from greeks_trio.model.records import SessionStatus
from greeks_trio.monitoring.figures.figure import (
    BY_BROKER,
    contract_gauge,
    counter,
    fact,
    gauge,
)
from greeks_trio.monitoring.readings import (
    Readings,
    of_contracts,
    of_feeds,
    of_healths,
    of_sessions,
)

# The status lists the contracts without ticks for the longest time.
_LISTED: Final = 20


def _one_of(status: SessionStatus) -> Mapping[str, bool]:
    return {each: each == status for each in get_args(SessionStatus)}


class FeedFigures:
    """Contracts and feeds."""

    # Contracts.

    contracts = fact(
        "Contracts with a tick so far, once for each account.",
        lambda now: now.processor.contracts,
        unit="contracts",
        status="contracts",
        minute="contracts",
    )
    contracts_stale = gauge(
        "Subscribed contracts without a tick for longer than the limit.",
        of_contracts(lambda each: each.stale),
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.stale",
        minute="stale",
    )
    contracts_trading = gauge(
        "Subscribed contracts whose market trades now.",
        of_contracts(lambda each: each.trading),
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.trading",
    )
    contracts_stale_trading = gauge(
        "Stale contracts whose market trades now.",
        of_contracts(lambda each: each.stale_trading),
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.stale_trading",
    )
    contracts_hours_unknown = gauge(
        "Subscribed contracts of an exchange whose hours are not known. They give no"
        " warning when they are silent.",
        of_contracts(lambda each: each.hours_unknown),
        unit="contracts",
        labels=("broker", "exchange"),
        status="staleness.hours_unknown",
        minute="hours_unknown",
    )
    contracts_not_realtime = gauge(
        "Subscribed contracts whose newest tick is delayed, frozen or of unknown"
        " availability. The SQL views call them stale, however recent they are.",
        of_contracts(lambda each: each.not_realtime),
        unit="contracts",
        labels=BY_BROKER,
        status="staleness.not_realtime",
    )
    contracts_stale_by_reason = gauge(
        "Subscribed contracts that are stale, by the reason: no tick, old, delayed, frozen"
        " or unknown, as in the column stale_reason of the SQL views. Each counts once.",
        Readings.stale_reasons,
        unit="contracts",
        labels=("broker", "stale_reason"),
        status="staleness.by_reason",
    )
    contracts_stale_after = gauge(
        "The age from which a contract without a tick is stale.",
        lambda now: now.status.stale_after_s,
        unit="seconds",
        status="staleness.after_s",
    )
    contracts_oldest = fact(
        f"The {_LISTED} contracts without a tick for the longest time.",
        lambda now: [msgspec.to_builtins(each) for each in now.stale[:_LISTED]],
        value=list,
        unit="contracts",
        status="staleness.oldest",
    )
    markets_open = gauge(
        "Whether a market trades now.",
        Readings.markets_open,
        value=bool,
        labels=("market",),
        status="staleness.markets_open",
    )

    # Feeds.  The status has the sessions too: see `StreamSession`.

    session_status = gauge(
        "1 for the status of a broker's session, 0 for every other status.",
        of_sessions(lambda session: _one_of(session.status)),
        value=bool,
        labels=("broker", "status"),
    )
    session_last_message_at = gauge(
        "Time of the last frame of any kind, absent before the first one.",
        of_sessions(lambda session: session.last_message_at),
        unit="timestamp",
        labels=BY_BROKER,
    )
    feed_stopped_by_request = gauge(
        "Whether the feed was stopped by a request.",
        of_healths(lambda health: health.is_stopped),
        value=bool,
        labels=BY_BROKER,
    )
    feed_standby = gauge(
        "Whether the feed waits because another service on the same logins streams.",
        of_healths(lambda health: health.sharing.is_standby),
        value=bool,
        labels=BY_BROKER,
        status="feeds.*.standby",
    )
    feed_lease_held = gauge(
        "Whether this service has the lease of the feed, so that it writes positions and"
        " account values. Without the database it is the last state.",
        of_healths(lambda health: health.sharing.has_lease),
        value=bool,
        labels=BY_BROKER,
        status="feeds.*.lease_held",
    )
    feed_accepts_delayed = gauge(
        "Whether delayed data are accepted (GREEKS_ACCEPT_DELAYED), so that they are no"
        " fault.",
        of_healths(lambda health: health.accepts_delayed),
        value=bool,
        labels=BY_BROKER,
    )
    feed_connection_changed_at = gauge(
        "When the feed was connected, or lost its connection; at first, when the service"
        " started.",
        of_healths(lambda health: health.connection_changed_at),
        value=datetime,
        unit="timestamp",
        labels=BY_BROKER,
        status="feeds.*.connection_changed_at",
    )
    feed_frames = counter(
        "Frames read, of every kind.",
        of_feeds(lambda feed: feed.frames),
        unit="frames",
        labels=BY_BROKER,
        status="feeds.*.frames",
    )
    feed_reconnects = counter(
        "Connections after the first one.",
        of_feeds(lambda feed: feed.reconnects),
        unit="connections",
        labels=BY_BROKER,
        status="feeds.*.reconnects",
    )
    feed_counts = counter(
        "How often each named event happened in a feed, for example odd.not-json.",
        of_feeds(lambda feed: dict(sorted(feed.counts.items()))),
        unit="events",
        labels=("broker", "event"),
        status="feeds.*.counts",
    )
    account_values_age = gauge(
        "Time since the account values were read, absent before the first reading and"
        " with GREEKS_ACCOUNT_VALUES_S=0.",
        of_healths(lambda health: health.account_values.age_s()),
        unit="seconds",
        labels=BY_BROKER,
        status="feeds.*.account_values_age_s",
    )
    account_values_unread = gauge(
        "Accounts whose values the last reading lacks.",
        of_healths(lambda health: len(health.account_values.last.unread)),
        unit="accounts",
        labels=BY_BROKER,
        status="feeds.*.account_values_unread",
    )
    subscriptions_wanted = contract_gauge(
        "Contracts that should be subscribed.",
        lambda feed: feed.wanted,
        status="feeds.*.wanted",
    )
    # Prometheus keeps the ending `_count` for histograms.
    subscription_count = contract_gauge(
        "Contracts that are subscribed on this connection, or share a line with others.",
        lambda feed: feed.subscription_count,
        status="feeds.*.subscription_count",
        metric_name="greeks_subscriptions",
    )
    subscriptions_warming = contract_gauge(
        "Subscribed contracts without Greeks so far that may still bring some.",
        lambda feed: feed.warming,
        status="feeds.*.warming",
    )
    subscriptions_without_greeks = contract_gauge(
        "Subscribed contracts that should have brought Greeks and have not.",
        lambda feed: feed.without_greeks,
        status="feeds.*.without_greeks",
    )
    subscriptions_in_rotation = contract_gauge(
        "Contracts that share lines with others, so their ticks come in turns.",
        lambda feed: feed.in_rotation,
        status="feeds.*.in_rotation",
    )
    rotation_lines = gauge(
        "Lines that the contracts in rotation share.",
        of_feeds(lambda feed: feed.rotation_lines),
        unit="lines",
        labels=BY_BROKER,
        status="feeds.*.rotation_lines",
    )
    rotation_seen_within = gauge(
        "Within this time every contract in rotation should bring Greeks again.",
        of_feeds(lambda feed: feed.rotation_seen_within_s),
        unit="seconds",
        labels=BY_BROKER,
        status="feeds.*.rotation_seen_within_s",
    )
    rotation_longest = gauge(
        "The longest of the last intervals without Greeks, over the contracts in rotation.",
        of_feeds(lambda feed: feed.rotation_longest_s),
        unit="seconds",
        labels=BY_BROKER,
        status="feeds.*.rotation_longest_s",
    )
