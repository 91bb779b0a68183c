"""The simulated gateway's answers about its login.  Pure.

Source: IBKR Client Portal API, "Session".
"""

from __future__ import annotations

from typing import Any

from greeks_trio.simulators.ibkr.state import Login


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
