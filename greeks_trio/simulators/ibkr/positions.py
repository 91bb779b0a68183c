"""The positions of the simulated accounts, and the positions that clients know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

from greeks_trio.model.contracts import Conid
from greeks_trio.model.records import WATCHLIST_ACCOUNT
from greeks_trio.simulators.market import Market, SimulatedOption

ACCOUNT_ID: Final = "DU7654321"
# Each further account holds one in so many of the first account's options.
_SHARED_EVERY: Final = 3

Quantities = dict[Conid, float]


class SimulatedPositions:
    """Signed quantities of options and shares, by account and conid.

    A client assigns a tick to the accounts that held the contract when it last read the
    positions, so the ledger does the same.  Before the first read it uses the present
    positions.

    Attributes:
        positions: The present positions by account.  They may be changed.
        master: The advisor's account, if these are the accounts of clients.
    """

    def __init__(
        self, positions: Mapping[str, Quantities], *, master: str | None = None
    ) -> None:
        self.positions = dict(positions)
        self.master = master
        self._read: dict[str, Quantities] = {}

    @property
    def login_account_ids(self) -> tuple[str, ...]:
        """The accounts that the gateway names beside prices: an advisor's own one too."""
        own = () if self.master is None else (self.master,)
        return (*own, *self.positions)

    @property
    def first(self) -> Quantities:
        """The present positions of the first account."""
        return next(iter(self.positions.values()))

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts, in order."""
        return tuple(self.positions)

    def read(self, account_id: str) -> set[Conid]:
        """Give clients the present positions; return the contracts opened or closed."""
        before = self.known(account_id)
        after = dict(self.positions[account_id])
        self._read[account_id] = after
        return {
            conid
            for conid in before.keys() | after.keys()
            if bool(before.get(conid)) != bool(after.get(conid))
        }

    def known(self, account_id: str) -> Quantities:
        """Return the positions that clients last read of an account."""
        return self._read.get(account_id, self.positions[account_id])

    def holders(self, conid: int) -> list[str]:
        """Return the accounts that a tick of this contract belongs to."""
        key = Conid(conid)
        held = [each for each in self.positions if self.known(each).get(key)]
        return held or [WATCHLIST_ACCOUNT]


def make_positions(
    market: Market, options: Iterable[SimulatedOption], random: Random, accounts: int
) -> SimulatedPositions:
    """Return the accounts; the first one holds the options and some shares.

    Each further one holds a third of the options, with different quantities.
    """
    shares = {"AAPL": 100.0, "F": 512.5, "SPY": -20.0}
    first: Quantities = {
        each.conid: shares[each.symbol]
        for each in market.underlyings
        if each.symbol in shares
    }
    held = [each.conid for each in options]
    for conid in held:
        first[conid] = float(random.choice((-10, -3, -2, -1, 1, 2, 5, 10)))
    number = int(ACCOUNT_ID.removeprefix("DU"))
    others = {
        f"DU{number + each}": {
            conid: float(each + 1) for conid in held[each % len(held) :: _SHARED_EVERY]
        }
        for each in range(1, accounts)
        if held
    }
    return SimulatedPositions({ACCOUNT_ID: first, **others})
