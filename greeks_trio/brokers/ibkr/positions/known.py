"""The memory of each contract, from earlier reads and from definitions.  Pure.

The symbol, the underlying, the strike and the multiplier of a contract change at splits and
renames, while its conid stays.  So a row always comes first, and this memory only fills
its holes.  With another description the row is another contract, and nothing of the
earlier one holds for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.instruments import Instrument
from greeks_trio.brokers.ibkr.positions.rows import Row, completed
from greeks_trio.model.contracts import Conid

# These fields are compared, and named in the log.
_COMPARED: Final = (
    "contract_key",
    "underlying",
    "underlying_conid",
    "multiplier",
    "strike",
    "expiration",
    "option_type",
    "currency",
)
_NEVER_GUESSED: Final = ("underlying_conid", "multiplier", "strike", "expiration")


class Change(msgspec.Struct, frozen=True):
    """A contract that is another one under the same conid."""

    conid: Conid
    before: Instrument
    after: Instrument

    def __str__(self) -> str:
        changed = (
            (name, getattr(self.before, name), getattr(self.after, name))
            for name in _COMPARED
        )
        words = (f"{name}={old}->{new}" for name, old, new in changed if old != new)
        return " ".join(words)


class KnownContracts:
    """The memory of one feed; it outlives a connection."""

    def __init__(self) -> None:
        self._rows: dict[Conid, Row] = {}
        # With the description that the row had when the definition was requested.
        self._definitions: dict[Conid, tuple[str | None, Row]] = {}
        self._outdated: set[Conid] = set()
        self._instruments: dict[Conid, Instrument] = {}

    def instrument(self, conid: Conid) -> Instrument | None:
        """Return which instrument the conid was in the last read that told it."""
        return self._instruments.get(conid)

    def definition(self, conid: Conid) -> Row | None:
        """Return the definition of a contract that no row has."""
        found = self._definitions.get(conid)
        return None if found is None else found[1]

    def complete(self, row: Row) -> Row:
        """Return the row, its holes filled from the memory of the same contract."""
        if row.conid is None:
            return row
        text = _words(row.description)
        sources = [self._definitions.get(row.conid)]
        earlier = self._rows.get(row.conid)
        if earlier is not None:
            sources.append((_words(earlier.description), earlier))
        usable = (
            other
            for said, other in filter(None, sources)
            if text is None or said is None or said == text
        )
        return completed(row, *usable)

    def is_outdated(self, conid: Conid) -> bool:
        """Return whether the definition of the contract may be another one by now."""
        return conid in self._outdated

    def outdate_definitions(self) -> None:
        """Let every definition be requested again; until then it counts."""
        self._outdated.update(self._definitions)

    def define(
        self, definitions: Iterable[Row], wanted: Mapping[Conid, str | None]
    ) -> None:
        """Take definitions.

        Args:
            definitions: As IBKR gives them.
            wanted: The descriptions of the rows by conid; `None` for a contract without
                a row.
        """
        for row in definitions:
            if row.conid is not None and row.conid in wanted:
                self._definitions[row.conid] = (_words(wanted[row.conid]), row)
                self._outdated.discard(row.conid)

    def take(
        self, rows: Mapping[Conid, Row], instruments: Mapping[Conid, Instrument]
    ) -> list[Change]:
        """Remember a reading; return the contracts that have changed."""
        self._rows.update(rows)
        changes = []
        for conid, after in instruments.items():
            before = self._instruments.get(conid)
            if before is not None and _has_changed(before, after):
                changes.append(Change(conid, before, after))
            self._instruments[conid] = after
        return changes


def _has_changed(before: Instrument, after: Instrument) -> bool:
    """Return whether something differs that was certain before.

    A name may be a guess until the instrument is complete; numbers never are.
    """
    compared = _COMPARED if before.is_complete else _NEVER_GUESSED
    return any(
        getattr(before, name) not in (None, getattr(after, name)) for name in compared
    )


def _words(text: str | None) -> str | None:
    return " ".join(text.split()) if text else None
