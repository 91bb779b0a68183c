"""The plan: which contracts get a market-data line, and which one is next.  Pure.

Held options come before watched ones, and all options before the underlyings.  One line
of an underlying serves all its options.  Contracts beyond the limit take turns with those
of their own rank: a line that is due for renewal goes to a contract that has waited for
as long as a line is held.  So no contract waits for ever, and there are few changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import Conid, ContractKey, OptionContract
from greeks_trio.model.positions import Holder


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
        options: By conid; those with a line come first.
        lines: Conids to subscribe, options before underlyings.
        waiting: Options beyond the limit, the one whose turn is next first.
        underlyings_without_line: Underlyings beyond it; their price stays unknown.
    """

    options: dict[Conid, WantedContract]
    lines: tuple[Conid, ...]
    waiting: tuple[Conid, ...]
    underlyings_without_line: tuple[Conid, ...]

    def successor(self, conid: Conid) -> Conid | None:
        """Return the option that gets this option's line next, `None` if there is none."""
        wanted = self.options.get(conid)
        if wanted is None:
            return None
        for each in self.waiting:
            if self.options[each].is_held or not wanted.is_held:
                return each
        return None

    def pass_on(self, conid: Conid, successor: Conid) -> Plan:
        """Return the plan in which the successor has the line; the other queues up."""
        return msgspec.structs.replace(
            self,
            lines=tuple(successor if each == conid else each for each in self.lines),
            waiting=(*(each for each in self.waiting if each != successor), conid),
        )


NOTHING: Final = Plan({}, (), (), ())


def make_plan(
    holders: Mapping[ContractKey, tuple[Holder, ...]],
    listings: Mapping[ContractKey, Listing],
    *,
    max_lines: int,
    before: Plan = NOTHING,
) -> Plan:
    """Give lines to the wanted contracts.

    A contract keeps its line, so a new contract never takes a line from an unchanged one
    of its own rank.
    """
    options = {
        listings[key].conid: WantedContract(
            listings[key].contract, who, listings[key].underlying_conid
        )
        for key, who in holders.items()
        if key in listings
    }
    had, turns = set(before.lines), {each: n for n, each in enumerate(before.waiting)}
    ordered = sorted(
        options,
        key=lambda conid: (
            not options[conid].is_held,
            conid not in had,
            turns.get(conid, len(turns)),
        ),
    )
    streamed = ordered[:max_lines]
    shared = dict.fromkeys(
        underlying
        for conid in streamed
        if (underlying := options[conid].underlying_conid) and underlying not in options
    )
    underlyings = _lines_first(shared, had)
    left = max_lines - len(streamed)
    return Plan(
        {conid: options[conid] for conid in ordered},
        (*streamed, *underlyings[:left]),
        tuple(ordered[max_lines:]),
        tuple(underlyings[left:]),
    )


def _lines_first(conids: Iterable[Conid], had: set[Conid]) -> list[Conid]:
    return sorted(conids, key=lambda conid: conid not in had)
