"""The words for missing data that all feeds share, and which of them are notes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls, in_short

WITHOUT_GREEKS: Final = "contracts without Greeks so far"
WENT_SILENT: Final = "subscriptions that have gone silent"
WITHOUT_PRICE: Final = "underlyings without a price"
DELAYED: Final = "subscriptions with delayed market data"
EXPIRED: Final = "contracts that have expired"

# Changes come in bursts, one in each frame; one look at all contracts serves many.
_SHORTEST_GATHER_S: Final = 0.05
_LONGEST_GATHER_S: Final = 1.0
# A look at thousands of contracts takes 10 ms, and the ticks wait meanwhile.
_LOOK_SHARE: Final = 0.03


def gather_time(look_s: float) -> float:
    """Return how long to gather changes before the next look at all contracts.

    Args:
        look_s: The duration of the last look.
    """
    return min(max(_SHORTEST_GATHER_S, look_s / _LOOK_SHARE), _LONGEST_GATHER_S)


def show_missing(
    health: FeedHealth,
    shortfalls: Shortfalls,
    names: dict[str, list[str]],
    *,
    expired: Collection[str],
) -> None:
    """Show the missing things of one connection; see `Shortfalls.count`.

    Delayed data are a note if they are accepted.  Expired contracts are always one.

    Args:
        health: Knows whether delayed data are accepted.
        shortfalls: Takes the faults and the notes.
        names: The names of the missing things by the words for their kind.
        expired: The contracts that bring nothing more and are still listed.
    """
    accepted: list[str] = []
    if health.accepts_delayed:
        accepted = names.get(DELAYED, [])
        names = {words: each for words, each in names.items() if words != DELAYED}
    _note(
        shortfalls, "delayed", DELAYED, accepted, ", accepted by GREEKS_ACCEPT_DELAYED"
    )
    _note(shortfalls, "expired", EXPIRED, expired)
    shortfalls.count(names)


def _note(
    shortfalls: Shortfalls,
    thing: str,
    words: str,
    names: Collection[str],
    ending: str = "",
) -> None:
    if names:
        shortfalls.note(thing, f"{in_short(words, names)}{ending}")
    else:
        shortfalls.clear(thing)
