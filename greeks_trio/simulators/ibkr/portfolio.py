"""The gateway's accounts and positions; the first read of a page is incomplete."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import trio

from greeks_trio.simulators.account_values import Lot, Money, count_money
from greeks_trio.simulators.ibkr import position_rows as rows
from greeks_trio.simulators.ibkr.listing import listing_of
from greeks_trio.simulators.ibkr.routes import Routes, json_response
from greeks_trio.simulators.ibkr.rows import Row
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ibkr.summary import summary_of, with_odd_values
from greeks_trio.simulators.market import SimulatedOption, Underlying
from greeks_trio.simulators.server.http import Request, Response

# IBKR sends more clients only in pages of this size.
_MOST_CLIENTS: Final = 100
CLIENTS_PAGE_SIZE: Final = 20
_LONGEST_PAGE: Final = 6
# No client can read this.
_BAD_ROW: Final[Row] = {
    "acctId": None,
    "conid": "none",
    "contractDesc": 17,
    "position": "several",
    "assetClass": "OPT",
    "strike": [],
    "multiplier": "x",
}


class IbkrPortfolio:
    """The answers of `/portfolio`; remembers the pages that this session has read."""

    def __init__(self, state: IbkrState) -> None:
        self._state = state
        self._has_listed_accounts = False
        self._has_listed_clients = False
        self._warm_pages: set[tuple[str, int]] = set()
        self.routes: Routes = {
            "GET /portfolio/accounts": self._accounts,
            "GET /portfolio/subaccounts": self._clients,
            "GET /portfolio/subaccounts2": self._pages_of_clients,
            "GET /portfolio/{account}/positions/{page:int}": self._positions,
            "POST /portfolio/{account}/positions/invalidate": self._invalidate,
            "GET /portfolio/positions/{conid}": self._position,
            "GET /portfolio2/{account}/positions": self._live_positions,
            "GET /portfolio/{account}/summary": self._summary,
        }

    def forget(self) -> None:
        """Forget all earlier reads, as after a login."""
        self._has_listed_accounts = self._has_listed_clients = False
        self._warm_pages.clear()

    def _accounts(self, _request: Request, _found: dict[str, str]) -> object:
        """List the accounts; of an advisor only the own one, which holds nothing."""
        self._has_listed_accounts = True
        master = self._state.account_positions.master
        if master is not None:
            return [rows.account_row(master, is_advisor=True)]
        return self._listed()

    def _clients(self, _request: Request, _found: dict[str, str]) -> object:
        self._has_listed_clients = True
        return self._listed()[:_MOST_CLIENTS]

    def _pages_of_clients(self, request: Request, _found: dict[str, str]) -> object:
        self._has_listed_clients = True
        text = request.parameters.get("page", "0")
        page = int(text) if text.isdecimal() and len(text) < _LONGEST_PAGE else 0
        listed = self._listed()
        start = page * CLIENTS_PAGE_SIZE
        return {
            "metadata": {
                "total": len(listed),
                "pageSize": CLIENTS_PAGE_SIZE,
                "pageNum": page,
            },
            "subaccounts": listed[start : start + CLIENTS_PAGE_SIZE],
        }

    def _listed(self) -> list[Row]:
        positions = self._state.account_positions
        return [
            rows.account_row(each, master=positions.master)
            for each in positions.account_ids
        ]

    def _positions(self, _request: Request, found: dict[str, str]) -> object:
        account, page = found["account"], int(found["page"])
        if not self._is_readable(account):
            return []
        if page == 0:  # the others show the rest of that reading
            self._state.read_positions(account, trio.current_time())
        start = page * rows.PAGE_SIZE
        held = self._state.held(account)[start : start + rows.PAGE_SIZE]
        is_warm = (account, page) in self._warm_pages
        self._warm_pages.add((account, page))
        listed = [self._row(account, *each, is_warm=is_warm) for each in held]
        if self._state.conditions.holds("bad-position"):
            listed.insert(0, dict(_BAD_ROW))
        return listed

    def _invalidate(self, _request: Request, _found: dict[str, str]) -> object:
        return {"message": "success"}

    def _position(self, _request: Request, found: dict[str, str]) -> object:
        if not self._has_listed_accounts:
            return {}
        held = {
            account: [
                self._row(account, each, quantity, is_warm=True)
                for each, quantity in self._state.held(account)
                if str(each.conid) == found["conid"]
            ]
            for account in self._state.account_positions.account_ids
        }
        return {account: listed for account, listed in held.items() if listed}

    def _live_positions(self, _request: Request, found: dict[str, str]) -> object:
        if not self._is_readable(found["account"]):
            return []
        self._state.read_positions(found["account"], trio.current_time())
        now_s = int(time.time())
        return [
            rows.live_position_row(each, quantity, self._state.price_of(each))
            | {"timestamp": now_s}
            for each, quantity in self._state.held(found["account"])
        ]

    def _summary(self, _request: Request, found: dict[str, str]) -> object:
        account, conditions = found["account"], self._state.conditions
        if conditions.holds("refuse-values"):
            return json_response({"error": "no summary", "statusCode": 500}, 500)
        if not self._is_readable(account):
            return {}
        now_ms = time.time_ns() // 1_000_000
        summary = summary_of(account, self.money(account), now_ms)
        if conditions.holds("odd-values"):
            return Response(body=with_odd_values(summary))
        return summary

    def money(self, account: str) -> Money:
        """Return the present values of an account."""
        return count_money(self._lots(account))

    def _lots(self, account: str) -> Iterator[Lot]:
        held = self._state.account_positions.positions[account]
        for conid, quantity in held.items():
            instrument = self._state.find(conid)
            if instrument is not None:
                listing = listing_of(instrument)
                units = quantity * listing.size * listing.factor
                price = self._state.price_of(instrument)
                is_future = listing.asset_class == "FUT"
                yield Lot(instrument, units, price, is_future)

    def _row(
        self,
        account: str,
        instrument: SimulatedOption | Underlying,
        quantity: float,
        *,
        is_warm: bool,
    ) -> Row:
        price = self._state.price_of(instrument)
        row = rows.position_row(account, instrument, quantity, price)
        listing = listing_of(instrument)
        if is_warm and not listing.is_always_cold:
            return row
        return rows.cold_position_row(row, listing)

    def _is_readable(self, account: str) -> bool:
        positions = self._state.account_positions
        if positions.master is not None and not self._has_listed_clients:
            return False
        return self._has_listed_accounts and account in positions.account_ids
