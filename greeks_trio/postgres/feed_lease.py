"""The lease of one broker's feed, as the journal and the watch of the leases see it."""

from __future__ import annotations

from typing import Final

from greeks_trio.model.records import Broker
from greeks_trio.postgres.feed_coverage import ALIVE_S
from greeks_trio.postgres.lease import Lease


class FeedLease(Lease):
    """The lease of a feed.  Its holder writes positions, account values and gaps.

    Args:
        holder: The name of this service.

    Attributes:
        is_settled: Whether the database answers for long enough, so that other services
            that live have renewed their leases and times.
        knows_earlier: Whether the times of earlier runs of this service are in order.
        follows_killed: Whether the run before was killed.
        left_gaps: Whether gaps were left out because another service had the feed.
        left_records: Whether anything was left to the holder of the lease.
    """

    def __init__(self, broker: Broker, holder: str) -> None:
        super().__init__(f"feed:{broker}", holder, lasts_s=FEED_LEASE_S)
        self.broker = broker
        self.is_settled = False
        self.knows_earlier = False
        self.follows_killed = False
        self.left_gaps = False
        self.left_records = False


FEED_LEASE_S: Final = ALIVE_S
