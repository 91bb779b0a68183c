"""The gateway's accounts and positions; the first read of a page is incomplete."""

from __future__ import annotations

import time
from typing import Final

import trio

from greeks_trio.simulators.ibkr import position_rows as rows
from greeks_trio.simulators.ibkr.routes import Routes
from greeks_trio.simulators.ibkr.rows import Row
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.server.http import Request

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
        self._warm_pages: set[tuple[str, int]] = set()
        self.routes: Routes = {
            "GET /portfolio/accounts": self._accounts,
            "GET /portfolio/subaccounts": self._accounts,
            "GET /portfolio/{account}/positions/{page:int}": self._positions,
            "POST /portfolio/{account}/positions/invalidate": self._invalidate,
            "GET /portfolio/positions/{conid}": self._position,
            "GET /portfolio2/{account}/positions": self._live_positions,
        }

    def forget(self) -> None:
        """Forget all earlier reads, as after a login."""
        self._has_listed_accounts = False
        self._warm_pages.clear()

    def _accounts(self, _request: Request, _found: dict[str, str]) -> object:
        self._has_listed_accounts = True
        return [
            rows.account_row(each) for each in self._state.account_positions.account_ids
        ]

    def _positions(self, _request: Request, found: dict[str, str]) -> object:
        account, page = found["account"], int(found["page"])
        if not self._is_readable(account):
            return []
        if page == 0:  # the others show the rest of that reading
            self._state.read_positions(account, trio.current_time())
        start = page * rows.PAGE_SIZE
        listed = self._rows(account)[start : start + rows.PAGE_SIZE]
        if self._state.conditions.holds("bad-position"):
            listed.insert(0, dict(_BAD_ROW))
        if (account, page) in self._warm_pages:
            return listed
        self._warm_pages.add((account, page))
        return [rows.cold_position_row(row) for row in listed]

    def _invalidate(self, _request: Request, _found: dict[str, str]) -> object:
        return {"message": "success"}

    def _position(self, _request: Request, found: dict[str, str]) -> object:
        if not self._has_listed_accounts:
            return {}
        held = {
            each: [
                row for row in self._rows(each) if str(row["conid"]) == found["conid"]
            ]
            for each in self._state.account_positions.account_ids
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

    def _rows(self, account: str) -> list[Row]:
        return [
            rows.position_row(account, each, quantity, self._state.price_of(each))
            for each, quantity in self._state.held(account)
        ]

    def _is_readable(self, account: str) -> bool:
        return (
            self._has_listed_accounts
            and account in self._state.account_positions.account_ids
        )
