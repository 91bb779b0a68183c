"""The logins of one user at the simulated gateways, and the answers about them.  Pure.

Source: IBKR Client Portal API, "Session".
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, Literal

# The brokerage session is open; or it has timed out; or there is a login without a
# session; or another gateway or program has the session; or there is no login.
Login = Literal[
    "established", "timed-out", "not-established", "competing", "logged-out"
]
# The session ends in these ways without another one that takes it: it is free then.
_FREED: Final = frozenset(("timed-out", "logged-out"))


class GatewayLogin:
    """The login at one gateway.

    Attributes:
        state: The state of the brokerage session as this gateway sees it.
        session_id: The name of the session in `/tickle`; each session has a new one.
    """

    def __init__(self) -> None:
        self.state: Login = "competing"
        self.session_id = ""

    @property
    def is_established(self) -> bool:
        """Whether this gateway has the brokerage session."""
        return self.state == "established"


class Logins:
    """The logins of the user, one at each gateway; at most one has the session.

    Attributes:
        each: The logins in the order of the gateways; the first one has the session.
    """

    def __init__(self, random: Random, count: int) -> None:
        self._random = random
        self.each = tuple(GatewayLogin() for _ in range(count))
        for login in self.each:
            login.session_id = self._new_id()
        self.each[0].state = "established"

    @property
    def present(self) -> GatewayLogin:
        """The login with the session, or the first one if none has it."""
        return next((each for each in self.each if each.is_established), self.each[0])

    def open(self, login: GatewayLogin) -> list[GatewayLogin]:
        """Give a login the session; return the login that loses it, if there is one."""
        others = [each for each in self.each if each is not login]
        losers = [each for each in others if each.is_established]
        for other in others:
            if other.state != "logged-out":
                other.state = "competing"
        login.state = "established"
        login.session_id = self._new_id()
        return losers

    def lose(self, login: GatewayLogin, state: Login) -> None:
        """End the session of a login, if it has one; its state is another one now."""
        had_session, login.state = login.is_established, state
        if had_session and state in _FREED:
            for each in self.each:
                if each.state == "competing":
                    each.state = "timed-out"

    def _new_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


def auth_status(login: Login) -> dict[str, Any]:
    """Return the answer of `/iserver/auth/status`."""
    if login == "logged-out":
        return {
            "authenticated": False,
            "established": False,
            "competing": False,
            "connected": False,
            "MAC": None,
        }
    return {
        "authenticated": login in ("established", "not-established"),
        "established": login == "established",
        "competing": login == "competing",
        "connected": True,
        "message": "",
        "MAC": "02:00:00:00:00:01",
        "serverInfo": {"serverName": "Simulated", "serverVersion": "Build 10.45.1a"},
        "fail": "",
    }


def validation(login: Login, now_ms: int) -> dict[str, Any]:
    """Return the answer of `/sso/validate`."""
    return {
        "USER_ID": 123_456_789,
        "USER_NAME": "simulated",
        "RESULT": login != "logged-out",
        "AUTH_TIME": now_ms,
        "SF_ENABLED": False,
        "IS_FREE_TRIAL": False,
        "CREDENTIAL": "simulated",
        "IP": "127.0.0.1",
        "EXPIRES": 460_311,
        "LANDING_APP": "UNIVERSAL",
        "IS_MASTER": False,
    }
