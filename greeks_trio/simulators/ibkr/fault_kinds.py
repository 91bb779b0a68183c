"""The faults of a simulated IBKR gateway; see `greeks_trio.simulators.faults`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.fault_kinds import FaultKind

_HELP: Final = {
    "drop": "closes every connection and refuses new ones for ARG seconds",
    "silent": "sends nothing on any WebSocket, not even a heartbeat, for ARG seconds",
    "no-data": "ends every subscription silently; heartbeats go on (over after ARG seconds)",
    "garbage": "sends invalid or meaningless frames among the others for ARG seconds",
    "bad-utf8": "puts bytes that are not UTF-8 into notices and ticks for ARG seconds",
    "half-open": "stops reading and writing, but keeps its connections open, for ARG seconds",
    "refuse-login": "is not logged in (401) and closes WebSockets with 1000 for ARG seconds",
    "expire-session": "loses the brokerage session; a client can open a new one after ARG seconds",
    "compete": "loses the session to another program for ARG seconds, or until a client competes",
    "duplicate": "sends every frame twice for ARG seconds",
    "reorder": "sends older ticks of a contract after newer ones for ARG seconds",
    "cold": "answers new subscriptions of options with empty rows for ARG seconds",
    "http-429": "answers every REST request with 429 for ARG seconds",
    "http-503": "answers everything with 503 for ARG seconds, and loses the session",
    "close-1000": "closes every WebSocket with 1000, also new ones, for ARG seconds",
    "close-1012": "closes every WebSocket with 1012, also new ones, for ARG seconds",
    "market-closed": "freezes all prices for ARG seconds; heartbeats go on",
    "nan": "sends Greeks as empty texts or N/A for ARG seconds",
    "not-established": "has a login but no brokerage session, and empty lists, for ARG seconds",
    "no-bridge": "answers 400 'no bridge' to requests of the brokerage session for ARG seconds",
    "odd-status": "sends wrong and partial status frames for ARG seconds; the session stays",
    "not-subscribed": "marks all data as not subscribed and sends none for ARG seconds",
    "bad-position": "adds an invalid position to the list for ARG seconds",
    "refuse-values": "answers 500 to requests for account values for ARG seconds",
    "odd-values": "sends account values as NaN, too large or not at all for ARG seconds",
    "delayed": "marks all data as delayed for ARG seconds",
}

# These names and the keys of the gateway's verbs are the same.
IBKR_FAULTS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {name: FaultKind(help=help_, default=30.0) for name, help_ in _HELP.items()}
    | {
        "drop": FaultKind(help=_HELP["drop"], default=5.0),
        "close-1000": FaultKind(help=_HELP["close-1000"], default=0.0),
        "close-1012": FaultKind(help=_HELP["close-1012"], default=0.0),
        "oversize": FaultKind(
            help="sends one frame of ARG MiB on every WebSocket", default=4.0, most=64.0
        ),
        "line-limit": FaultKind(
            help="gives market data for only ARG contracts from then on",
            default=10.0,
        ),
    }
)
