"""The contract of a feed: everything that the service knows of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar

import trio

from greeks_trio.config.settings import Config
from greeks_trio.errors import ConfigError
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.records import Broker, Tick

TickSender: TypeAlias = trio.MemorySendChannel[list[Tick]]

SectionT = TypeVar("SectionT")
SectionT_contra = TypeVar("SectionT_contra", contravariant=True)

# The pipeline behind a feed takes the ticks of a frame within milliseconds.  A stop that
# reaches this limit has met a bug, not a slow database.
HAND_OVER_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class FeedOutputs:
    """Everything that one feed writes to.

    Attributes:
        health: The state, the counters and the gaps of the feed.
        positions: What its accounts hold.
        ticks: The channel into the pipeline.
    """

    health: FeedHealth
    positions: PositionLog
    ticks: TickSender


class Feed(Protocol, Generic[SectionT_contra]):
    """The stream of one broker, across its connections."""

    async def run_connection(self) -> NoReturn:
        """Run one connection from login to its end.

        The ticks of a frame are one item in the channel.  A frame that was read is handed
        over even if the feed is cancelled meanwhile; that takes at most
        `HAND_OVER_LIMIT_S`.

        Raises:
            FeedInterrupted: the connection ended; another one may work.
            CredentialsRejected: the broker refused the configured login.

        Both may come inside an `ExceptionGroup`.
        """

    def reload(self, section: SectionT_contra) -> None:
        """Take new settings and read the positions again.

        Applies only the difference: a contract that stays subscribed misses no tick.
        Does not wait.  Without a connection, the next one uses the new settings.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedKind(Generic[SectionT]):
    """One way to stream from a broker; `greeks_trio.brokers.registry` has all of them.

    A broker may have several.  The configuration chooses at most one of them.

    Attributes:
        name: Unique among all kinds.
        broker: The broker in every row that this feed leads to.
        section: Returns the settings of this feed, `None` if it is not enabled.
        make: Makes the feed; it does nothing until it runs.
        check_login: Logs in once, changes nothing, and returns one sentence about the
            accounts.  Raises what `Feed.run_connection` raises.
        is_exclusive: Whether the broker allows one session for each user, so that of
            several services one streams.
    """

    name: str
    broker: Broker
    section: Callable[[Config], SectionT | None]
    make: Callable[[SectionT, FeedOutputs], Feed[SectionT]]
    check_login: Callable[[SectionT], Awaitable[str]]
    is_exclusive: bool = False

    def make_feed(
        self, config: Config, health: FeedHealth, ticks: TickSender
    ) -> Feed[SectionT]:
        """Make the feed, which is enabled in this configuration, with its outputs."""
        section = self.section(config)
        if section is None:
            raise ValueError(f"the feed {self.name} is not enabled")
        return self.make(section, FeedOutputs(health, health.positions, ticks))


def brokers_of(kinds: Iterable[FeedKind[Any]]) -> list[Broker]:
    """Return every broker with a feed, enabled or not, each once."""
    return list(dict.fromkeys(kind.broker for kind in kinds))


def enabled_kinds(
    kinds: Iterable[FeedKind[Any]], config: Config
) -> dict[Broker, FeedKind[Any]]:
    """Return the kind of feed that the configuration enables, for each broker with one.

    Raises:
        ConfigError: two feeds of one broker are enabled.
    """
    enabled: dict[Broker, FeedKind[Any]] = {}
    for kind in kinds:
        if kind.section(config) is None:
            continue
        other = enabled.setdefault(kind.broker, kind)
        if other is not kind:
            raise ConfigError(
                [
                    f"The feeds {other.name} and {kind.name} are both enabled, but"
                    f" {kind.broker} can have one feed only; disable one of them."
                ]
            )
    return enabled
