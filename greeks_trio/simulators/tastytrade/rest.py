"""The REST interface of a simulated Tastytrade: requests to answers.  No I/O.

Answers have the form ``{"data", "context"}``, errors the form ``{"error"}``.  A request
without User-Agent gets an HTML page, as from the real Tastytrade.

Source: developer.tastytrade.com, OAuth and API overview.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from greeks_trio.simulators.account_values import Money, count_money
from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.server.http import Request, Response
from greeks_trio.simulators.tastytrade.balances import balances_shape
from greeks_trio.simulators.tastytrade.instruments import Shape
from greeks_trio.simulators.tastytrade.metrics import metrics_shape
from greeks_trio.simulators.tastytrade.positions import PriceOf, SimulatedPositions

ACCESS_TOKEN_S: Final = 900.0
QUOTE_TOKEN_S: Final = 86_400.0
# No client can read this.
_BAD_POSITION: Final[Shape] = {
    "account-number": "",
    "symbol": 17,
    "instrument-type": "Equity Option",
    "quantity": "several",
    "quantity-direction": None,
}
# With more unexpired tokens the oldest one is lost.
_MAX_TOKENS: Final = 1_000


class Tokens:
    """Tokens of one kind; ``clock`` gives seconds."""

    def __init__(
        self, lifetime_s: float, clock: Callable[[], float], conditions: Conditions
    ) -> None:
        self._conditions = conditions
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._expiry: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new token."""
        token = secrets.token_urlsafe(24)
        self._expiry[token] = self._clock() + self._lifetime_s
        if len(self._expiry) > _MAX_TOKENS:
            del self._expiry[next(iter(self._expiry))]
        return token

    def forget_all(self) -> None:
        """Make all issued tokens invalid."""
        self._expiry.clear()

    def is_valid(self, token: str) -> bool:
        """Tell whether the token was issued here and has not expired."""
        if self._conditions.holds("expire-session"):
            return False
        return self._expiry.get(token, 0.0) > self._clock()


class _TokenRequest(msgspec.Struct, frozen=True):
    grant_type: str = ""
    refresh_token: str = ""
    client_secret: str = ""


class Rest:
    """Answers requests about accounts, positions and instruments.

    Attributes:
        dxlink_url: The DXLink address in the answer with a quote token.
    """

    def __init__(
        self,
        positions: SimulatedPositions,
        conditions: Conditions,
        *,
        secret: str,
        refresh: str,
        clock: Callable[[], float],
        price_of: PriceOf,
    ) -> None:
        self.dxlink_url = ""
        self._price_of = price_of
        self.access_tokens = Tokens(ACCESS_TOKEN_S, clock, conditions)
        self.quote_tokens = Tokens(QUOTE_TOKEN_S, clock, conditions)
        self._conditions = conditions
        self._positions = positions
        self._instruments: Mapping[str, Callable[[str], Shape | None]] = {
            "equity-options": positions.equity_option,
            "future-options": positions.future_option,
            "futures": positions.future,
        }
        self._secret = secret
        self._refresh = refresh

    def respond(self, request: Request) -> Response:
        """Return the answer to one request."""
        if outage := self._outage():
            return outage
        if "user-agent" not in request.headers:
            page = b"<html><body><h1>401 Authorization Required</h1></body></html>"
            return Response(status=401, body=page, content_type="text/html")
        if (request.method, request.path) == ("POST", "/oauth/token"):
            return self._issue_access_token(request.body)
        if not self.is_bearer(request.headers.get("authorization", "")):
            return _refusal(401, "unauthorized", "Unauthorized")
        if "/balances" in request.path and self._conditions.holds("refuse-values"):
            return _refusal(403, "not_permitted", "User not permitted access")
        if request.path == "/market-metrics" and self._conditions.holds(
            "refuse-metrics"
        ):
            return _refusal(403, "not_permitted", "User not permitted access")
        found = self._find(request) if request.method == "GET" else None
        if found is None:
            return _refusal(404, "record_not_found", "Record not found")
        return _answer(200, {"data": found, "context": request.path})

    def refuse_upgrade(self) -> Response | None:
        """Return the answer that refuses a WebSocket at present, `None` to allow it."""
        if self._conditions.holds("upgrade-502"):
            page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
            return Response(status=502, body=page, content_type="text/html")
        return self._outage()

    def _outage(self) -> Response | None:
        if self._conditions.holds("http-503"):
            page = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
            return Response(status=503, body=page, content_type="text/html")
        if self._conditions.holds("http-429"):
            left_s = self._conditions.seconds_left("http-429")
            answer = _refusal(429, "too_many_requests", "Too many requests")
            return msgspec.structs.replace(
                answer, headers=(("Retry-After", str(math.ceil(left_s))),)
            )
        return None

    def money(self, account_id: str) -> Money:
        """Return the present values of an account."""
        return count_money(self._positions.lots(account_id, self._price_of))

    def is_bearer(self, text: str) -> bool:
        """Tell whether this is ``Bearer`` and a valid access token."""
        scheme, _, token = text.partition(" ")
        return scheme == "Bearer" and self.access_tokens.is_valid(token)

    def _issue_access_token(self, body: bytes) -> Response:
        try:
            wanted = msgspec.json.decode(body, type=_TokenRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            wanted = _TokenRequest()
        credentials = (wanted.client_secret, wanted.refresh_token)
        is_known = credentials == (self._secret, self._refresh)
        if self._conditions.holds("refuse-login") or not is_known:
            refused = {
                "error_code": "invalid_grant",
                "error_description": "Grant revoked or credentials unknown",
            }
            return _answer(400, refused)
        return _answer(
            200,
            {
                "access_token": self.access_tokens.issue(),
                "token_type": "Bearer",
                "expires_in": int(ACCESS_TOKEN_S),
            },
        )

    def _find(self, request: Request) -> Shape | None:
        known = self._positions.account_ids
        match request.path.strip("/").split("/", 2):
            case ["api-quote-tokens"]:
                return {
                    "token": self.quote_tokens.issue(),
                    "dxlink-url": self.dxlink_url,
                    "level": "demo" if self._conditions.holds("delayed") else "api",
                }
            case ["customers", "me", rest]:
                return self._accounts(rest)
            case ["accounts", account_id, "positions"] if account_id in known:
                return {"items": self._position_items(account_id, request)}
            case ["accounts", account_id, "balances" | "balances/USD"] if (
                account_id in known
            ):
                return self._balances(account_id)
            case ["market-metrics"]:
                return self._metrics(request)
            case ["instruments", kind, symbol] if kind in self._instruments:
                return self._instruments[kind](symbol)
            case ["instruments", kind] if kind in self._instruments:
                wanted = request.query.get("symbol[]", [])
                found = map(self._instruments[kind], wanted)
                return {"items": [each for each in found if each is not None]}
        return None

    def _metrics(self, request: Request) -> Shape:
        """Return the metrics of the known ones among the symbols."""
        wanted = ",".join(request.query.get("symbols", [])).split(",")
        is_odd = self._conditions.holds("odd-metrics")
        known = self._positions.underlying_symbols()
        items = [
            metrics_shape(each, is_odd=is_odd)
            for each in dict.fromkeys(wanted)
            if each in known
        ]
        return {"items": items}

    def _balances(self, account_id: str) -> Shape:
        is_odd = self._conditions.holds("odd-values")
        return balances_shape(account_id, self.money(account_id), is_odd=is_odd)

    def _accounts(self, rest: str) -> Shape | None:
        accounts = self._positions.accounts()
        if rest == "accounts":
            items = [{"account": each, "authority-level": "owner"} for each in accounts]
            return {"items": items}
        wanted = rest.removeprefix("accounts/")
        return next((a for a in accounts if a["account-number"] == wanted), None)

    def _position_items(self, account_id: str, request: Request) -> list[Shape]:
        wants_closed = request.query.get("include-closed-positions") == ["true"]
        positions = self._positions.positions(account_id, with_closed=wants_closed)
        if self._conditions.holds("bad-position"):
            return [dict(_BAD_POSITION), *positions]
        filters = (
            ("underlying-symbol", request.query.get("underlying-symbol[]")),
            ("symbol", request.query.get("symbol")),
            ("instrument-type", request.query.get("instrument-type")),
        )
        for name, wanted in filters:
            if wanted:
                positions = [each for each in positions if each[name] in wanted]
        return positions


def _answer(status: int, content: object) -> Response:
    return Response(status=status, body=msgspec.json.encode(content))


def _refusal(status: int, code: str, message: str) -> Response:
    return _answer(status, {"error": {"code": code, "message": message}})
