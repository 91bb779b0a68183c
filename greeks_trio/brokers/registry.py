"""Every feed of this program.  A new feed is one line here."""

from __future__ import annotations

from typing import Any, Final

from greeks_trio.brokers.ibkr import feed as ibkr
from greeks_trio.brokers.tastytrade import feed as tastytrade
from greeks_trio.feeds.feed import FeedKind

FEEDS: Final[tuple[FeedKind[Any], ...]] = (
    ibkr.FEED,
    tastytrade.FEED,
)
