"""Contract look-up and price snapshots of the simulated gateway."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import trio

from greeks_trio.simulators.ibkr import rows
from greeks_trio.simulators.ibkr.client_memory import Values
from greeks_trio.simulators.ibkr.listing import ibkr_symbol
from greeks_trio.simulators.ibkr.quotes import COLD_ROW, option_values, underlying_quote
from greeks_trio.simulators.ibkr.routes import Routes, json_response
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.market import SimulatedOption, Underlying
from greeks_trio.simulators.server.http import Request, Response

# The first answer has only the conid; the second one has no prices yet.
_COLD_ANSWERS: Final = 2
_MAX_SECURITIES: Final = 200
_CONID: Final = re.compile(r"[0-9]{1,18}")


class IbkrMarketData:
    """The answers of `/iserver` and `/trsrv` about contracts and prices."""

    def __init__(self, state: IbkrState, silence: Callable[[], None]) -> None:
        self._state = state
        self._silence = silence
        self._has_listed_accounts = False
        self._asked: dict[int, int] = {}  # number of snapshots by conid
        self.routes: Routes = {
            "GET /iserver/accounts": self._accounts,
            "GET /iserver/marketdata/snapshot": self._snapshot,
            "POST /iserver/marketdata/unsubscribe": self._unsubscribe,
            "GET /iserver/marketdata/unsubscribeall": self._unsubscribe_all,
            "GET|POST /trsrv/secdef": self._securities,
            "GET|POST /iserver/secdef/search": self._search,
            "GET /iserver/secdef/strikes": self._strikes,
            "GET /iserver/secdef/info": self._info,
            "GET /iserver/contract/{conid}/info": self._contract,
        }

    def forget(self) -> None:
        """Forget all earlier requests, as after a login."""
        self._has_listed_accounts = False
        self._asked.clear()

    def _accounts(self, _request: Request, _found: dict[str, str]) -> object:
        self._has_listed_accounts = True
        accounts = self._state.account_positions.login_account_ids
        return {
            "accounts": accounts,
            "acctProps": {each: {"hasChildAccounts": False} for each in accounts},
            "aliases": {each: each for each in accounts},
            "selectedAccount": accounts[0],
            "sessionId": "00000000.00000001",
            "isFT": False,
            "isPaper": True,
        }

    def _snapshot(self, request: Request, _found: dict[str, str]) -> object:
        if not self._has_listed_accounts:
            return _error(500, "please query /accounts first")
        fields = set(request.parameters.get("fields", "").split(","))
        return [
            self._snapshot_row(conid, fields)
            for conid in _numbers(request.parameters.get("conids", "").split(","))
        ]

    def _snapshot_row(self, conid: int, fields: set[str]) -> Values:
        identity: Values = {"conid": conid, "conidEx": str(conid)}
        asked = self._asked[conid] = self._asked.get(conid, 0) + 1
        if asked == 1:
            return identity
        market, random = self._state.market, self._state.random
        row: Values = identity | {
            "_updated": self._state.next_updated_ms(conid),
            "server_id": f"q{conid % 97}",
            "6119": f"q{conid % 97}",
        }
        match self._state.find(conid):
            case None:
                return row | COLD_ROW
            case _ if asked <= _COLD_ANSWERS or not self._state.take_line(
                conid, trio.current_time()
            ):
                return row | {"6509": "RpB"}
            case Underlying() as underlying:
                values = underlying_quote(underlying, random)
            case option:
                values = option_values(market, option, random)
        known = {name: text for name, text in values.items() if name in fields}
        return row | {"6509": "RpB"} | known

    def _unsubscribe(self, request: Request, _found: dict[str, str]) -> object:
        conid = next(iter(_numbers([_body(request).get("conid")])), None)
        if conid is None or conid not in self._state.lines:
            return _error(500, "unknown")
        self._state.lines.pop(conid)
        self._asked.pop(conid, None)
        return {"success": True}

    def _unsubscribe_all(self, _request: Request, _found: dict[str, str]) -> object:
        self._silence()
        self._state.lines.clear()
        self._asked.clear()
        return {"unsubscribed": True}

    def _securities(self, request: Request, _found: dict[str, str]) -> object:
        asked = request.parameters.get("conids", "").split(",")
        if request.method == "POST":
            conids = _body(request).get("conids")
            asked = conids if isinstance(conids, list) else []
        found = [self._state.find(each) for each in _numbers(asked[:_MAX_SECURITIES])]
        return {"secdef": [rows.security_row(each) for each in found if each]}

    def _search(self, request: Request, _found: dict[str, str]) -> object:
        symbol = request.parameters.get("symbol") or _body(request).get("symbol")
        found = [
            rows.search_row(each, self._state.market.options)
            for each in self._state.market.underlyings
            if ibkr_symbol(each) == symbol
        ]
        return found or _error(400, "No symbol found")

    def _strikes(self, request: Request, _found: dict[str, str]) -> object:
        options = self._matching(request.parameters)
        return {
            side: sorted(
                {float(e.terms.strike) for e in options if e.terms.option_type == side}
            )
            for side in ("call", "put")
        }

    def _info(self, request: Request, _found: dict[str, str]) -> object:
        if "month" in request.parameters:
            options = self._matching(request.parameters)
            return [rows.option_info_row(each) for each in options]
        for conid in _numbers([request.parameters.get("conid")]):
            if isinstance(found := self._state.find(conid), Underlying):
                return rows.underlying_info_row(found)
        return _error(500, "no contracts found")

    def _contract(self, _request: Request, found: dict[str, str]) -> object:
        for conid in _numbers([found["conid"]]):
            if (instrument := self._state.find(conid)) is not None:
                return rows.contract_info_row(instrument)
        return _error(500, "no contract found")

    def _matching(self, query: Mapping[str, str]) -> list[SimulatedOption]:
        """Return the options that match the conid, month, strike and right of a query."""
        strike = _decimal(query.get("strike"))
        return [
            each
            for each in self._state.market.options
            if query.get("conid") == str(each.underlying.conid)
            and query.get("month", "").upper() == rows.month_code(each.terms.expiration)
            and query.get("right", rows.right(each)) == rows.right(each)
            and strike in (None, float(each.terms.strike))
        ]


def _body(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _numbers(texts: Iterable[Any]) -> list[int]:
    return [int(each) for each in texts if _CONID.fullmatch(str(each))]


def _decimal(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _error(status: int, message: str) -> Response:
    return json_response({"error": message}, status)
