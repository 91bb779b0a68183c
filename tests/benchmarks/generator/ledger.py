"""The ticks that the generator has handed over: a binary file for each broker.

A tick is two integers of 64 bits: the number of its contract and of its set of values in
one, the time of its event in the other.  A batch is one send: its number of ticks, and
the clock just before it was given to the kernel.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

# The number of the values' set is below it.
VALUE_SETS = 997
_FLUSH_TICKS = 50_000


class Contract(msgspec.Struct, frozen=True):
    """One contract of the ledger."""

    account_id: str
    contract_key: str


class SentTick(NamedTuple):
    """One tick that was handed over; times in milliseconds and microseconds."""

    contract: int
    values: int
    event_ms: int
    handed_us: int


class Ledger:
    """Keeps ticks in memory, and writes them to the disk now and then."""

    def __init__(self, directory: Path, broker: str) -> None:
        self.ticks = array("q")
        self._batches = array("q")
        self._directory = directory
        self._broker = broker
        _file(directory, broker, "ticks").write_bytes(b"")
        _file(directory, broker, "batches").write_bytes(b"")

    def write_contracts(self, contracts: list[Contract]) -> None:
        """Write the names of the contracts."""
        path = _file(self._directory, self._broker, "contracts")
        path.write_bytes(msgspec.json.encode(contracts))

    def note_batch(self, count: int, handed_us: int) -> None:
        """Count a batch of ticks, which are in `ticks` already."""
        self._batches.extend((count, handed_us))
        if len(self.ticks) > 2 * _FLUSH_TICKS:
            self.flush()

    def flush(self) -> None:
        """Write everything to the files."""
        for kind, numbers in (("ticks", self.ticks), ("batches", self._batches)):
            with _file(self._directory, self._broker, kind).open("ab") as file:
                numbers.tofile(file)
            del numbers[:]


def read_contracts(directory: Path, broker: str) -> list[Contract]:
    """Return the contracts of a ledger."""
    data = _file(directory, broker, "contracts").read_bytes()
    return msgspec.json.decode(data, type=list[Contract])


def read_ticks(directory: Path, broker: str) -> Iterator[SentTick]:
    """Yield the ticks of a ledger in the order in which they were handed over."""
    ticks = iter(_numbers(_file(directory, broker, "ticks")))
    batches = iter(_numbers(_file(directory, broker, "batches")))
    for count, handed_us in zip(batches, batches, strict=True):
        for _ in range(count):
            packed, event_ms = next(ticks), next(ticks)
            contract, values = divmod(packed, VALUE_SETS)
            yield SentTick(contract, values, event_ms, handed_us)


def _numbers(path: Path) -> array[int]:
    numbers = array("q")
    numbers.frombytes(path.read_bytes())
    return numbers


def _file(directory: Path, broker: str, kind: str) -> Path:
    return directory / f"{broker}.{kind}"
