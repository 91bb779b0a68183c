"""The instruments of all rows of one reading, each with a key of its own.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from greeks_trio.brokers.ibkr.positions.identify import identify
from greeks_trio.brokers.ibkr.positions.instruments import Instrument, Unidentified
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.rows import Row, completed
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.instruments import broker_key


class SharedKey(msgspec.Struct, frozen=True):
    """Instruments that have the same symbol.

    Attributes:
        conids: The first one keeps the key; the others are known by their conid.
    """

    contract_key: ContractKey
    conids: tuple[Conid, ...]

    @property
    def name(self) -> str:
        """Key and conids, for a person."""
        return f"{self.contract_key} conids {', '.join(map(str, self.conids))}"


class Identities:
    """The instruments of one reading.

    The rows of several accounts describe a contract together.  `read` comes first.

    Attributes:
        rows: The row of each contract, as complete as possible.
        held: The instruments of the rows.
        shared_keys: The instruments that would have one key.
    """

    def __init__(self, known: KnownContracts) -> None:
        self._known = known
        self._problems: dict[Conid, str] = {}
        self._found: dict[Conid, Instrument | None] = {}
        # Rows of closed positions stay a while; their contracts need no key.
        self._closed: set[Conid] = set()
        self.rows: dict[Conid, Row] = {}
        self.held: dict[Conid, Instrument] = {}
        self.shared_keys: tuple[SharedKey, ...] = ()

    def read(self, rows: Iterable[Row]) -> Iterator[None]:
        """Identify the instruments of the rows; yield after each small step."""
        for row in rows:
            if row.conid is not None:
                self._note_quantity(row.conid, row)
                before = self.rows.get(row.conid)
                self.rows[row.conid] = row if before is None else completed(before, row)
            yield
        for conid, row in self.rows.items():
            self.rows[conid] = self._known.complete(row)
            yield
        for conid in self.rows:
            self._find(conid)
            yield
        self.shared_keys = self._part_keys()
        self.held = {
            conid: found
            for conid in self.rows
            if (found := self._found[conid]) is not None
        }

    def instrument(self, conid: Conid) -> Instrument | None:
        """Return the instrument of a row; `None` if no row has told it."""
        return self._found.get(conid)

    def problem(self, row: Row) -> str | None:
        """Return the reason why the row is not identified; `None` if it is."""
        if row.conid is None:
            return "the row has no conid"
        return self._problems.get(row.conid)

    @property
    def undefined(self) -> dict[Conid, str | None]:
        """The contracts whose definition would tell more, with their descriptions."""
        wanted: dict[Conid, str | None] = {}
        for conid, row in self.rows.items():
            found = self._found[conid]
            if self._is_undefined(conid, found):
                wanted[conid] = row.description
            underlying = None if found is None else self._to_define(found)
            if underlying is not None:
                wanted.setdefault(underlying, None)
        return wanted

    def _is_undefined(self, conid: Conid, found: Instrument | None) -> bool:
        return (
            conid in self._problems
            or self._known.is_outdated(conid)
            or (found is not None and _lacks(found))
        )

    def _to_define(self, found: Instrument) -> Conid | None:
        """Return the underlying if it has no row and its definition is wanted."""
        underlying = found.underlying_conid
        if underlying is None or underlying in self.rows:
            return None
        is_wanted = not found.is_complete or self._known.is_outdated(underlying)
        return underlying if is_wanted else None

    @property
    def is_cold(self) -> bool:
        """Whether a row may tell more in the next read."""
        return any(
            found is not None and not found.is_complete
            for found in map(self._found.get, self.rows)
        )

    def _note_quantity(self, conid: Conid, row: Row) -> None:
        if row.quantity != 0:
            self._closed.discard(conid)
        elif conid not in self.rows:
            self._closed.add(conid)

    def _find(self, conid: Conid) -> Instrument | None:
        """Return the instrument of a row or of a definition."""
        if conid in self._found:
            return self._found[conid]
        self._found[conid] = None  # no contract is its own underlying's underlying
        before = self._known.instrument(conid)
        row = self.rows.get(conid) or self._known.definition(conid)
        try:
            found = before if row is None else identify(row, self._find)
        except Unidentified as exc:
            self._problems[conid] = exc.reason
            found = before
        if found is not None:
            self._found[conid] = _with_factor(found, before)
        return self._found[conid]

    def _part_keys(self) -> tuple[SharedKey, ...]:
        """Give instruments with one key different ones."""
        by_key: dict[ContractKey, list[Conid]] = {}
        for conid in sorted(self._found, key=lambda each: (each in self._closed, each)):
            found = self._found[conid]
            if found is not None:
                by_key.setdefault(found.contract_key, []).append(conid)
        shared = []
        for key, conids in by_key.items():
            for conid in conids[1:]:
                self._rename(conid, broker_key("ibkr", str(conid)))
            in_use = tuple(each for each in conids if each not in self._closed)
            if len(in_use) > 1:
                shared.append(SharedKey(key, in_use))
        return tuple(shared)

    def _rename(self, renamed: Conid, key: ContractKey) -> None:
        was = self._found[renamed]
        for conid, found in self._found.items():
            if found is None or was is None:
                continue
            if renamed not in (conid, found.underlying_conid):
                continue
            follows = found.underlying == was.contract_key
            self._found[conid] = msgspec.structs.replace(
                found,
                contract_key=key if conid == renamed else found.contract_key,
                underlying=key if follows else found.underlying,
            )


def _lacks(found: Instrument) -> bool:
    if found.kind in ("option", "future_option"):
        lacks_multiplier = found.multiplier is None and not found.is_adjusted
        # Without a currency an option with an OCC symbol may be one of Montreal.
        return lacks_multiplier or None in (found.underlying_conid, found.currency)
    return found.kind == "future" and not found.is_complete


def _with_factor(found: Instrument, before: Instrument | None) -> Instrument:
    """Keep the unit of quotation, which a row without a price does not tell."""
    if found.price_factor is not None or before is None:
        return found
    same = (found.contract_key, found.multiplier, found.currency)
    if same != (before.contract_key, before.multiplier, before.currency):
        return found
    return msgspec.structs.replace(found, price_factor=before.price_factor)
