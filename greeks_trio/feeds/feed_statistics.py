"""The counters of a feed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ContractCounts:
    """The numbers of contracts on the present connection.

    Attributes:
        wanted: Contracts that should be subscribed.
        subscription_count: Contracts that are subscribed, or share a line with others.
        warming: Subscribed contracts without Greeks so far, within the usual time.
        without_greeks: Subscribed contracts whose Greeks are overdue.  The contract may
            not exist.
        in_rotation: Contracts that share lines with others, so their ticks come in turns.
        rotation_lines: How many lines they share.
        rotation_seen_within_s: Within how many seconds each of them should bring Greeks again.
        rotation_longest_s: The longest of their last intervals without Greeks.
    """

    wanted: int = 0
    subscription_count: int = 0
    warming: int = 0
    without_greeks: int = 0
    in_rotation: int = 0
    rotation_lines: int = 0
    rotation_seen_within_s: float = 0.0
    rotation_longest_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FeedStatistics(ContractCounts):
    """The counters of a feed since the start of the service.

    Attributes:
        frames: Frames of every kind that were read.
        counts: Events by name, such as ``odd.not-json`` or ``quote.bad``.
        reconnects: Connections after the first.
    """

    frames: int
    counts: dict[str, int]
    reconnects: int
