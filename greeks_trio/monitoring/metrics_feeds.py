"""The metrics of feeds, sessions and contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from greeks_trio.feeds.health import FeedHealth, FeedStatistics
from greeks_trio.model.records import Broker, SessionStatus
from greeks_trio.monitoring.market_hours import MARKETS
from greeks_trio.monitoring.metric_kinds import by_broker, gauge
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.waiting import utc_now

_SUBSCRIPTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("wanted", "Contracts that should be subscribed."),
    ("live", "Contracts that are subscribed on this connection."),
    ("without_line", "Contracts that the broker's limit leaves unsubscribed."),
    ("warming", "Subscribed contracts that have brought no Greeks yet, and may."),
    ("without_greeks", "Subscribed contracts whose Greeks are overdue."),
)


def sessions(healths: Mapping[Broker, FeedHealth]) -> Iterator[Metric]:
    """Yield the state of each broker's feed, and what it has counted."""
    state = GaugeMetricFamily(
        "greeks_session_state",
        "1 for the state in which a broker's feed is, 0 for the others.",
        labels=["broker", "state"],
    )
    heard = GaugeMetricFamily(
        "greeks_session_last_message_timestamp_seconds",
        "When the last frame of any kind came; absent before the first.",
        labels=["broker"],
    )
    for broker, health in healths.items():
        session = health.session()
        for each in get_args(SessionStatus):
            state.add_metric([broker, each], session.status == each)
        if session.last_message_at is not None:
            heard.add_metric([broker], session.last_message_at.timestamp())
    yield state
    yield heard
    yield by_broker(
        GaugeMetricFamily,
        "greeks_session_stopped_by_hand",
        "Whether a person has stopped the feed.",
        ((broker, health.is_stopped) for broker, health in healths.items()),
    )
    yield from _feeds({broker: each.statistics() for broker, each in healths.items()})


def _feeds(feeds: Mapping[Broker, FeedStatistics]) -> Iterator[Metric]:
    yield by_broker(
        CounterMetricFamily,
        "greeks_session_reconnects",
        "Connections after the first.",
        ((broker, feed.reconnects) for broker, feed in feeds.items()),
    )
    yield by_broker(
        CounterMetricFamily,
        "greeks_frames_received",
        "Frames read, of every kind.",
        ((broker, feed.frames) for broker, feed in feeds.items()),
    )
    events = CounterMetricFamily(
        "greeks_feed_events",
        "What was odd, by its short name, such as odd.not-json.",
        labels=["broker", "event"],
    )
    for broker, feed in feeds.items():
        for name, number in sorted(feed.counts.items()):
            events.add_metric([broker, name], number)
    yield events
    for name, about in _SUBSCRIPTIONS:
        yield by_broker(
            GaugeMetricFamily,
            f"greeks_subscriptions_{name}",
            about,
            (
                (
                    broker,
                    getattr(feed, "subscription_count" if name == "live" else name),
                )
                for broker, feed in feeds.items()
            ),
        )


def contracts(status: ServiceStatus) -> Iterator[Metric]:
    """Yield how many contracts are stale and why, and whether their markets are open."""
    yield by_broker(
        GaugeMetricFamily,
        "greeks_contracts_stale",
        "Subscribed contracts without a tick for longer than the limit.",
        status.stale_counts().items(),
    )
    yield by_broker(
        GaugeMetricFamily,
        "greeks_contracts_not_realtime",
        "Subscribed contracts whose newest tick the broker calls delayed, frozen or"
        " nothing; stale in the views, however recent.",
        status.not_realtime_counts().items(),
    )
    yield gauge(
        "greeks_contracts_stale_after_seconds",
        "The age from which a contract without a tick is stale.",
        status.stale_after_s,
    )
    market_open = GaugeMetricFamily(
        "greeks_market_open", "Whether a market trades now.", labels=["market"]
    )
    now = utc_now()
    for market in MARKETS:
        market_open.add_metric([market], status.hours.is_open(now, market))
    yield market_open
