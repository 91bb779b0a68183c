"""What the service knows of a broker's feed, and all that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NoReturn, Protocol, TypeAlias, TypeVar

import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.records import Broker, Tick

TickSender: TypeAlias = trio.MemorySendChannel[list[Tick]]


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


ConfigT = TypeVar("ConfigT", contravariant=True)

# The pipeline behind a feed takes a frame within milliseconds.  It never takes this
# long, so a stop that meets this limit has met a bug, not a slow database.
HAND_OVER_LIMIT_S = 1.0


class Feed(Protocol, Generic[ConfigT]):
    """One broker's stream into us, across reconnects."""

    @property
    def broker(self) -> Broker:
        """Whose feed this is."""

    async def run_connection(self) -> NoReturn:
        """Run one connection from login to its end.

        Whatever a frame holds is handed over whole: one channel item per frame, sent
        in a shielded scope of at most `HAND_OVER_LIMIT_S`.

        Raises:
            FeedInterrupted: the connection ended; another one may work.
            CredentialsRejected: the broker refused what is configured.

        Both may come inside an `ExceptionGroup`.
        """

    def reload(self, config: ConfigT) -> None:
        """Take a new configuration and read the positions again.

        Applies only the difference: an unchanged contract misses no tick.  Does not
        wait; without a connection it counts for the next one.
        """
