"""What is known in memory of the entries on the disk.  Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, Self

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.stores import Dropped
from greeks_trio.spool.contents import Contents

# The newest entries are known one by one, so that a loss can name them; about 400 bytes
# each, 4 MB in all.
MAX_KNOWN: Final = 10_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What an entry holds: ticks by broker, first and last receipt."""

    rows: Mapping[Broker, int]
    first_at: datetime
    last_at: datetime

    @property
    def row_count(self) -> int:
        """Return the number of ticks."""
        return sum(self.rows.values())

    def as_dropped(self, entry_id: int, reason: str) -> Dropped:
        """Return the news of its loss."""
        return Dropped(
            id=entry_id,
            rows=self.rows,
            first_at=self.first_at,
            last_at=self.last_at,
            reason=reason,
        )


def facts_of(ticks: Iterable[Tick]) -> Facts:
    """Return the facts of at least one tick."""
    records = [tick.record for tick in ticks]
    receipts = [record.received_at for record in records]
    return Facts(
        Counter(record.broker for record in records), min(receipts), max(receipts)
    )


class Inventory:
    """The entries of one file: totals, and the newest ones by id.

    Attributes:
        entries: How many there are.
        newest_id: Of all that were ever added.
    """

    def __init__(self) -> None:
        self._rows: Counter[Broker] = Counter()
        # Not a dict: its first key is ever harder to find when the first ones go.
        self._known: OrderedDict[int, Facts] = OrderedDict()
        self._oldest_at: datetime | None = None
        self._newest_at: datetime | None = None
        self.entries = 0
        self.newest_id = 0

    @classmethod
    def found(
        cls,
        entries: int,
        rows: Mapping[Broker, int],
        oldest_at: datetime | None,
        newest: Iterable[tuple[int, Facts]],
    ) -> Self:
        """Return that of a file: its totals, and its newest entries, oldest first."""
        inventory = cls()
        for entry_id, facts in newest:
            inventory.add(entry_id, facts)
        inventory.entries = entries
        inventory._rows = Counter(rows)
        inventory._oldest_at = oldest_at
        return inventory

    @property
    def rows(self) -> int:
        """Return the number of ticks in all entries."""
        return self._rows.total()

    def add(self, entry_id: int, facts: Facts) -> None:
        """Count an entry; ids come in rising order."""
        if not self.entries:
            self._oldest_at = facts.first_at
        self.entries += 1
        self.newest_id = max(self.newest_id, entry_id)
        self._newest_at = facts.last_at
        self._rows.update(facts.rows)
        self._known[entry_id] = facts
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def remove(self, removed: Mapping[int, Facts]) -> None:
        """Take entries out again."""
        for entry_id, facts in removed.items():
            self.entries -= 1
            self._rows.subtract(facts.rows)
            self._known.pop(entry_id, None)

    def contents(self) -> Contents:
        """Return it in numbers."""
        return Contents(
            newest_id=self.newest_id,
            rows=dict(+self._rows),
            first_at=self._oldest_at,
            last_at=self._newest_at,
        )

    def lost_since(self, earlier: Contents, named: Iterable[Dropped]) -> list[Dropped]:
        """Return what an earlier run had and is not here, nor among what is named."""
        missing = Counter(earlier.rows) - self._rows
        for each in named:
            missing.subtract(each.rows)
        missing = +missing
        if not missing or earlier.first_at is None or earlier.last_at is None:
            return []
        facts = Facts(missing, earlier.first_at, earlier.last_at)
        return [facts.as_dropped(earlier.newest_id, "spool-damaged")]

    def lost(self, found: Inventory) -> list[Dropped]:
        """Return what was here and is not in the one that was found afterwards.

        Entry by entry as far as they are known; what is missing besides is one more,
        with the times between which its ticks were received.
        """
        missing = {
            entry_id: facts
            for entry_id, facts in self._known.items()
            if entry_id not in found._known
        }
        lost = [facts.as_dropped(i, "spool-damaged") for i, facts in missing.items()]
        rest = self._rows - found._rows
        for facts in missing.values():
            rest.subtract(facts.rows)
        rest = +rest
        if not rest:
            return lost
        return [self._rest(rest), *lost]

    def _rest(self, rows: Mapping[Broker, int]) -> Dropped:
        [(first_known, facts)] = islice(self._known.items(), 1)
        first_at = self._oldest_at or facts.first_at
        return Facts(rows, first_at, facts.first_at).as_dropped(
            first_known - 1, "spool-damaged"
        )
