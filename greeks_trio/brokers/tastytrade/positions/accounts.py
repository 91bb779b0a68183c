"""The positions of all accounts, one reading after the other.  Pure.

- An item that cannot be read costs only itself.  If it was readable before, it stays as it
  was; otherwise it is a position of the kind ``unknown``.
- A refused account keeps the positions of the last reading.
- An account that lists nothing after it has held something keeps its positions until the
  next reading says the same.
- An account that the broker has closed holds nothing.
- The first answer of an account closes nothing in the table, because an earlier run may
  have stored positions that this answer does not have.  The second one does.
- Two instruments never share a key: the one with the lower symbol keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from greeks_trio.brokers.tastytrade.positions.items import (
    Holding,
    own_key,
    parse_position,
    with_key,
    with_quantity,
)
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Position

# The refusal of a known account that the login does not list any more.
NOT_LISTED: Final = "it is not listed"
_LEFT: Final = "is not read any more; its positions in the database stay as they were"


class AccountReading(msgspec.Struct, frozen=True):
    """Tastytrade's answer to the request for the positions of one account.

    Attributes:
        account_id: The account.
        items: One object in JSON for each position.
        refusal: The reason why there is no list; `None` if there is one.
        authority: Our rights in the account in words, empty if they are all rights.
    """

    account_id: str
    items: tuple[Raw, ...] = ()
    refusal: str | None = None
    authority: str = ""


class AccountPositions(msgspec.Struct, frozen=True):
    """One reading of the positions of all accounts.

    Attributes:
        account_ids: The accounts that are to be streamed.
        holdings: Their positions, one per account and instrument.
        incomplete: The accounts of which the table closes nothing.
        problems: The unreadable parts, for a person; each once.
        notes: The accounts that list nothing, which may be right, and those that were read
            before, for a person.
        left: The accounts that were read before in this run and are not any more.
        closed: The accounts that the broker has closed.
        malformed: How many items could not be read.
        refused: How many accounts could not be read at all.
        answered: The accounts that have listed their positions in this run.
        emptied: The accounts that list nothing, and held something before.
        unlisted: The accounts that the login does not list any more.
        needs_confirmation: Whether another reading should follow soon.
    """

    account_ids: tuple[str, ...]
    holdings: tuple[Holding, ...]
    incomplete: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    malformed: int = 0
    refused: int = 0
    answered: frozenset[str] = frozenset()
    emptied: tuple[str, ...] = ()
    unlisted: frozenset[str] = frozenset()
    needs_confirmation: bool = False

    @property
    def positions(self) -> tuple[Position, ...]:
        """The positions alone."""
        return tuple(holding.position for holding in self.holdings)


class _Account(msgspec.Struct, frozen=True):
    """The readable part of one account."""

    holdings: tuple[Holding, ...]
    problems: tuple[str, ...] = ()
    malformed: int = 0
    is_emptied: bool = False


def read_positions(
    readings: Sequence[AccountReading],
    previous: AccountPositions | None = None,
    problems: Iterable[str] = (),
    *,
    today: date,
    closed: Collection[str] = (),
) -> Generator[None, None, AccountPositions]:
    """Join the readings; ``previous`` replaces their unreadable parts.

    It yields after each item, because thousands of items take a long time.

    ``closed``: the accounts that the broker has closed.
    """
    previous = previous or AccountPositions((), ())
    accounts = yield from _read_accounts(readings, previous, today)
    refused = [each.account_id for each in readings if each.refusal is not None]
    answered = [each for each in accounts if each not in refused]
    new = [each for each in answered if each not in previous.answered]
    emptied = [key for key, each in accounts.items() if each.is_emptied]
    unlisted = frozenset(
        each.account_id for each in readings if each.refusal == NOT_LISTED
    )
    left = {*previous.account_ids, *previous.left}.difference(accounts, closed)
    holdings, collisions = _with_own_keys(
        holding for each in accounts.values() for holding in each.holdings
    )
    found = [problem for each in accounts.values() for problem in each.problems]
    return AccountPositions(
        account_ids=tuple(accounts),
        holdings=holdings,
        incomplete=tuple(dict.fromkeys([*refused, *emptied, *new])),
        problems=tuple(dict.fromkeys([*problems, *collisions, *found])),
        notes=(
            *_empty_accounts(readings, holdings),
            *(f"account {each} {_LEFT}" for each in sorted(left)),
        ),
        left=tuple(sorted(left)),
        closed=tuple(closed),
        malformed=sum(each.malformed for each in accounts.values()),
        refused=len(refused),
        answered=previous.answered.union(answered),
        emptied=tuple(emptied),
        unlisted=unlisted,
        needs_confirmation=bool(emptied or new or unlisted - previous.unlisted),
    )


def _read_accounts(
    readings: Iterable[AccountReading], previous: AccountPositions, today: date
) -> Generator[None, None, dict[str, _Account]]:
    """Return the readable part of each account; yield after each item."""
    before: dict[str, list[Holding]] = {}
    for holding in previous.holdings:
        before.setdefault(holding.position.account_id, []).append(holding)
    accounts: dict[str, _Account] = {}
    for each in readings:
        accounts[each.account_id] = yield from _read_account(
            each,
            before.get(each.account_id, []),
            was_emptied=each.account_id in previous.emptied,
            today=today,
        )
    return accounts


def _empty_accounts(
    readings: Iterable[AccountReading], holdings: Iterable[Holding]
) -> tuple[str, ...]:
    """Return a sentence for each account whose empty list may be a lack of rights.

    If nothing is held at all, each account has a sentence.
    """
    is_any_open = any(each.position.quantity != 0 for each in holdings)
    return tuple(
        f"account {each.account_id} lists no position{each.authority}"
        for each in readings
        if each.refusal is None and not each.items
        if each.authority or not is_any_open
    )


def merge_holdings(holdings: Iterable[Holding]) -> tuple[Holding, ...]:
    """Return one holding per account and instrument, in their order, quantities added.

    If the quantity of one of them is not known, the sum is not known either.
    """
    merged: dict[tuple[str, str], Holding] = {}
    for holding in holdings:
        place = (holding.position.account_id, holding.identity)
        other = merged.get(place)
        merged[place] = holding if other is None else _sum(other, holding)
    return tuple(merged.values())


def changed_terms(before: Iterable[Holding], after: Iterable[Holding]) -> list[str]:
    """Return a sentence for each instrument whose terms have changed, each once.

    The quantity is no term; a position that was opened or closed has no change.
    """
    known = {(each.position.account_id, each.symbol): each for each in before}
    sentences: list[str] = []
    for holding in after:
        old = known.get((holding.position.account_id, holding.symbol))
        if old is not None and holding.symbol:
            changes = [*_differences(old, holding)]
            if changes:
                sentences.append(f"{holding.symbol}: {', '.join(changes)}")
    return list(dict.fromkeys(sentences))


def _differences(old: Holding, new: Holding) -> Iterable[str]:
    if old.streamer_symbol != new.streamer_symbol:
        yield f"streamer symbol {old.streamer_symbol} -> {new.streamer_symbol}"
    for name in Position.__struct_fields__:
        was, now = getattr(old.position, name), getattr(new.position, name)
        if name != "quantity" and was != now:
            yield f"{name} {was} -> {now}"


def _sum(first: Holding, second: Holding) -> Holding:
    for each in (second, first):
        if each.position.kind == "unknown":
            return each
    lots = (first.position.quantity, second.position.quantity)
    return with_quantity(second, sum((each or Decimal(0) for each in lots), Decimal(0)))


def _read_account(
    reading: AccountReading,
    before: Sequence[Holding],
    *,
    was_emptied: bool,
    today: date,
) -> Generator[None, None, _Account]:
    account_id = reading.account_id
    if reading.refusal is not None:
        problem = f"account {account_id} cannot be read: {reading.refusal}"
        return _Account(tuple(before), (problem,))
    held = [each for each in before if each.position.quantity != 0]
    if held and not reading.items and not was_emptied:
        problem = (
            f"account {account_id} lists no position and held {len(held)} before; "
            "they stay until the next answer says the same"
        )
        return _Account(tuple(before), (problem,), is_emptied=True)
    holdings: list[Holding] = []
    for item in reading.items:
        holdings.append(parse_position(account_id, item, today=today))
        yield
    odd = [
        each
        for each in holdings
        if each.position.kind == "unknown" and each.position.quantity != 0
    ]
    known = {each.identity: each for each in held if each.position.kind != "unknown"}
    merged = [
        known.get(each.identity, each) if each.position.kind == "unknown" else each
        for each in merge_holdings(_numbered(holdings))
    ]
    problems = tuple(_explain(each.position) for each in odd)
    return _Account(tuple(merged), problems, malformed=len(odd))


def _numbered(holdings: Iterable[Holding]) -> Iterable[Holding]:
    """Yield the holdings; those without a symbol get a key by their number."""
    number = 0
    for holding in holdings:
        if holding.symbol:
            yield holding
            continue
        number += 1
        name = f"unnamed {number} of {holding.position.account_id}"
        yield replace(with_key(holding, own_key(name)), identity=name)


def _explain(position: Position) -> str:
    name = position.instrument_id or "without a symbol"
    return (
        f"position {name} of account {position.account_id} is not understood: "
        f"{position.problem}"
    )


def _with_own_keys(
    holdings: Iterable[Holding],
) -> tuple[tuple[Holding, ...], list[str]]:
    """Return the holdings with one key for each instrument, and the collisions.

    An open position comes before a closed one, then the lower symbol first.
    """
    holdings = tuple(holdings)
    by_key: dict[ContractKey, dict[str, tuple[bool, str]]] = {}
    for each in holdings:
        ranks = by_key.setdefault(each.position.contract_key, {})
        rank = (each.position.quantity == 0, each.symbol)
        ranks[each.identity] = min(rank, ranks.get(each.identity, rank))
    owners = {key: min(ranks, key=ranks.__getitem__) for key, ranks in by_key.items()}
    kept: list[Holding] = []
    collisions: list[str] = []
    for each in holdings:
        key = each.position.contract_key
        if each.identity == owners[key]:
            kept.append(each)
            continue
        kept.append(with_key(each, own_key(each.symbol)))
        if each.position.quantity != 0:
            _, other = by_key[key][owners[key]]
            collisions.append(
                f"{each.symbol} and {other} would have the same key {key}; "
                f"{each.symbol} has the key {own_key(each.symbol)}"
            )
    return tuple(kept), collisions
