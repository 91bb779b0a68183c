"""The plan: which contracts have a market-data line, and which ones share lines.  Pure.

Underlyings come first, because they are few and each serves many options; but they take
at most three quarters of the lines while options need the others.  If the options do not
fit into the other lines, held options keep a line of their own and watched ones share the
rest.  If too few lines are left for that, all options share lines; see
`greeks_trio.brokers.ibkr.lines.rotation`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import Conid, ContractKey, OptionContract
from greeks_trio.model.positions import Holder

# Held options share lines too if fewer lines than this are left for watched ones: one for
# so many of them, but no more than one in so many lines.
_WATCHED_ON_A_LINE: Final = 4
_WATCHED_LINE_IN: Final = 10


class WantedContract(msgspec.Struct, frozen=True):
    """An option to stream, and the holders that get its ticks."""

    contract: OptionContract
    holders: tuple[Holder, ...]
    underlying_conid: Conid | None

    @property
    def is_held(self) -> bool:
        """Whether it is a position, not only on the watch-list."""
        return any(holder.quantity is not None for holder in self.holders)


class Plan(msgspec.Struct, frozen=True):
    """The contracts to subscribe.

    Attributes:
        options: By conid, held ones first.
        lines: Conids that have a line of their own, underlyings before options.
        rotating: Options that share lines, held ones first.
        shared_lines: How many lines they share.
        underlyings_without_line: The others; their price stays unknown.
        by_risk: Whether the options with the largest risk have the most turns.
    """

    options: dict[Conid, WantedContract]
    lines: tuple[Conid, ...]
    rotating: tuple[Conid, ...] = ()
    shared_lines: int = 0
    underlyings_without_line: tuple[Conid, ...] = ()
    by_risk: bool = True


NOTHING: Final = Plan({}, ())


def make_plan(
    holders: Mapping[ContractKey, tuple[Holder, ...]],
    listings: Mapping[ContractKey, Listing],
    *,
    max_lines: int,
    by_risk: bool = True,
) -> Plan:
    """Give lines to the wanted contracts.

    Args:
        holders: The accounts that get the ticks of each wanted contract.
        listings: Where IBKR streams each contract that it knows.
        max_lines: How many contracts the account may stream at a time.
        by_risk: Whether the options with the largest risk have the most turns.
    """
    found = {
        listings[key].conid: WantedContract(
            listings[key].contract, who, listings[key].underlying_conid
        )
        for key, who in holders.items()
        if key in listings
    }
    ordered = sorted(found, key=lambda conid: not found[conid].is_held)
    options = {conid: found[conid] for conid in ordered}
    underlyings = _underlyings(options)
    # Options take turns, and underlyings do not: without a line they have no price.
    reserved = max(max_lines * 3 // 4, max_lines - len(options))
    served, beyond = underlyings[:reserved], underlyings[reserved:]
    own, shared_lines = _own_lines(options, max_lines - len(served))
    return Plan(
        options,
        (*served, *ordered[:own]),
        tuple(ordered[own:]),
        shared_lines,
        tuple(beyond),
        by_risk,
    )


def _underlyings(options: Mapping[Conid, WantedContract]) -> list[Conid]:
    """Return the underlyings: those of held options first, then by number of options.

    The last order is by conid, so that no line changes when positions come in another
    order.
    """
    held: Counter[Conid] = Counter()
    served: Counter[Conid] = Counter()
    for wanted in options.values():
        conid = wanted.underlying_conid
        if conid and conid not in options:
            held[conid] += wanted.is_held
            served[conid] += 1
    return sorted(served, key=lambda each: (-held[each], -served[each], each))


def _own_lines(options: Mapping[Conid, WantedContract], lines: int) -> tuple[int, int]:
    """Return how many options, held ones first, have own lines, and the shared lines."""
    if len(options) <= lines:
        return len(options), 0
    held = sum(wanted.is_held for wanted in options.values())
    needed = math.ceil((len(options) - held) / _WATCHED_ON_A_LINE)
    if held <= lines - max(1, min(needed, lines // _WATCHED_LINE_IN)):
        return held, lines - held
    return 0, lines
