"""The simulated gateway's REST interface: routes, login, limits.

Source: IBKR Client Portal API, "Session" and "Pacing Limitations".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio

from greeks_trio.simulators.account_values import Money
from greeks_trio.simulators.ibkr.login import GatewayLogin, auth_status, validation
from greeks_trio.simulators.ibkr.market_data import IbkrMarketData
from greeks_trio.simulators.ibkr.portfolio import IbkrPortfolio
from greeks_trio.simulators.ibkr.routes import (
    always,
    compile_routes,
    json_response,
)
from greeks_trio.simulators.ibkr.sessions import BrokerageSessions
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.pacing import Allowance
from greeks_trio.simulators.server.http import Request, Response

# The login page has a path without the prefix of the interface.
_PREFIX: Final = re.compile(
    r"(?:/v1/(?:api|portal))?(/sso/Dispatcher)|/v1/(?:api|portal)(/.*)"
)

# (requests at once, requests a second).  The rates are IBKR's; the requests at once
# are enough for a client that starts.
_LIMIT: Final = (120.0, 10.0)
_LIMITS: Final = {
    "/tickle": (10.0, 1.0),
    "/portfolio/accounts": (5.0, 0.2),
    "/portfolio/subaccounts": (5.0, 0.2),
    "/iserver/account/orders": (5.0, 0.2),
    "/iserver/account/trades": (5.0, 0.2),
    "/iserver/account/pnl/partitioned": (5.0, 0.2),
    "/sso/validate": (3.0, 1 / 60),
}

_NOT_FOUND: Final = Response(
    status=404,
    body=b"<html><body><h1>Resource not found</h1></body></html>",
    content_type="text/html",
)
_UNAUTHORIZED: Final = Response(
    status=401, body=b"Access Denied", content_type="text/plain"
)
_NO_BRIDGE: Final = Response(
    status=400, body=b"Bad Request: no bridge", content_type="text/plain"
)


class IbkrRest:
    """Answers requests; remembers the earlier requests of a session.

    Attributes:
        last_request_at: Time of the last request, on the monotonic clock.
    """

    def __init__(
        self,
        state: IbkrState,
        login: GatewayLogin,
        sessions: BrokerageSessions,
        silence: Callable[[], None],
    ) -> None:
        self._state = state
        self._login = login
        self._sessions = sessions
        self._portfolio = IbkrPortfolio(state)
        self._market_data = IbkrMarketData(state, silence)
        self._allowances: dict[str, Allowance] = {}
        self.last_request_at = trio.current_time()
        self._routes = compile_routes(
            {
                "GET|POST /tickle": self._tickle,
                "GET|POST /iserver/auth/status": self._status,
                "POST /iserver/auth/ssodh/init": self._init,
                "GET|POST /iserver/reauthenticate": self._reauthenticate,
                "GET /sso/validate": self._validate,
                "GET|POST /logout": self._logout,
                "POST /sso/Dispatcher": self._log_in,
                # There is no trading here.
                "GET /iserver/account/orders": always({"orders": [], "snapshot": True}),
                "GET /iserver/account/trades": always([]),
                "GET /iserver/account/pnl/partitioned": always({"upnl": {}}),
            }
            | self._portfolio.routes
            | self._market_data.routes
        )

    def money(self, account_id: str) -> Money:
        """Return the present values of an account."""
        return self._portfolio.money(account_id)

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        found = _PREFIX.fullmatch(request.path)
        if found is None:
            return _NOT_FOUND
        path = (found[1] or found[2]).rstrip("/")
        self.last_request_at = trio.current_time()
        conditions = self._state.conditions
        if conditions.holds("http-429") or not self._allows(path):
            return json_response({"error": "Too many requests"}, status=429)
        for method, pattern, handler in self._routes:
            if request.method not in method or not (match := pattern.fullmatch(path)):
                continue
            answer = self._refusal(path)
            if answer is None:
                answer = handler(request, match.groupdict())
            if not isinstance(answer, Response):
                answer = json_response(answer)
            return self._with_cookie(request, answer)
        return _NOT_FOUND

    def _allows(self, path: str) -> bool:
        now = trio.current_time()
        for name, limits in (("", _LIMIT), (path, _LIMITS.get(path))):
            if limits is None:
                continue
            allowance = self._allowances.setdefault(name, Allowance(*limits, now=now))
            if not allowance.take(now):
                return False
        return True

    def _refusal(self, path: str) -> object:
        """Return the answer that replaces the requested one, `None` when there is none."""
        if not self._is_allowed_in(path):
            return _UNAUTHORIZED
        needs_session = path.startswith(("/iserver/", "/portfolio"))
        if needs_session and not path.startswith("/iserver/auth/"):
            if self._login.state == "not-established":
                return []
            if self._state.conditions.holds("no-bridge") and "/iserver/" in path:
                return _NO_BRIDGE
        return None

    def _is_allowed_in(self, path: str) -> bool:
        if self._state.conditions.holds("refuse-login"):
            return path == "/iserver/auth/status"
        if self._login.state == "logged-out":
            return path in ("/iserver/auth/status", "/sso/Dispatcher", "/logout")
        open_to_all = ("/iserver/auth/", "/iserver/reauthenticate")
        if path.startswith(open_to_all) or not path.startswith("/iserver/"):
            return True
        return self._login.state in ("established", "not-established")

    def _with_cookie(self, request: Request, response: Response) -> Response:
        if "x-sess-uuid=" in request.headers.get("cookie", ""):
            return response
        cookie = f"x-sess-uuid=0.{self._login.session_id[:8]}; Path=/; Secure; HttpOnly"
        return msgspec.structs.replace(response, headers=(("Set-Cookie", cookie),))

    def _tickle(self, _request: Request, _found: dict[str, str]) -> object:
        if self._login.state == "logged-out":
            return _UNAUTHORIZED
        return {
            "session": self._login.session_id,
            "ssoExpires": 460_311,
            "collission": False,  # IBKR's spelling
            "userId": 123_456_789,
            "hmds": {"error": "no bridge"},
            "iserver": {"authStatus": auth_status(self._login.state)},
        }

    def _status(self, _request: Request, _found: dict[str, str]) -> object:
        return auth_status(self._login.state)

    def _init(self, request: Request, _found: dict[str, str]) -> object:
        try:
            arguments = msgspec.json.decode(request.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError:
            arguments = {}
        if arguments.get("publish") is not True:
            return json_response({"error": "missing publish", "statusCode": 500}, 500)
        if self._may_log_in(competes=arguments.get("compete") is True):
            self.begin_session()
        return auth_status(self._login.state)

    def _may_log_in(self, *, competes: bool) -> bool:
        if self._state.conditions.holds("expire-session", "not-established"):
            return False
        if self._login.is_established:
            return False
        return competes or self._login.state != "competing"

    def begin_session(self) -> None:
        """Open a brokerage session and tell every client."""
        self._portfolio.forget()
        self._market_data.forget()
        self._sessions.open(self._login)

    def log_in(self) -> None:
        """Log in, as a person does; a session at another gateway goes on."""
        if self._sessions.logins.present.is_established:
            self._login.state = "competing"
        else:
            self.begin_session()

    def _reauthenticate(self, _request: Request, _found: dict[str, str]) -> object:
        if self._may_log_in(competes=False):
            self.begin_session()
        return {"message": "triggered"}

    def _validate(self, _request: Request, _found: dict[str, str]) -> object:
        return validation(self._login.state, time.time_ns() // 1_000_000)

    def _log_in(self, _request: Request, _found: dict[str, str]) -> object:
        """Log in, as a person does at the gateway's page; the body does not matter."""
        if self._state.conditions.holds("refuse-login"):
            return _UNAUTHORIZED
        if self._login.state == "logged-out":
            self.log_in()
        text = b"Client login succeeds"
        return Response(status=200, body=text, content_type="text/plain")

    def _logout(self, _request: Request, _found: dict[str, str]) -> object:
        self._sessions.lose(self._login, "logged-out")
        return {"status": True}
