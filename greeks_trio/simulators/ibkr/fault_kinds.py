"""The faults of a simulated IBKR gateway; see `greeks_trio.simulators.faults`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.fault_kinds import FaultKind

_HELP: Final = {
    "drop": "closes every connection and lets nobody in for ARG seconds",
    "silent": "says nothing on any WebSocket, not even a heartbeat, for ARG seconds",
    "no-data": "ends every subscription silently; heartbeats go on (over after ARG seconds)",
    "garbage": "sends frames that are no JSON or no sense among the others for ARG seconds",
    "bad-utf8": "puts bytes that are no UTF-8 into notices and ticks for ARG seconds",
    "half-open": "neither reads nor writes on its connections, nor closes them, for ARG seconds",
    "refuse-login": "is not logged in (401) and closes WebSockets with 1000 for ARG seconds",
    "expire-session": "loses the brokerage session, which can be opened again after ARG seconds",
    "compete": "loses the session to another program for ARG seconds, or until competed for",
    "duplicate": "sends every frame twice for ARG seconds",
    "reorder": "sends ticks after newer ones of their contract for ARG seconds",
    "cold": "answers new subscriptions of options with empty rows for ARG seconds",
    "http-429": "answers every REST request with 429 for ARG seconds",
    "http-503": "is reset: 503 to everything for ARG seconds, and the session is lost",
    "close-1000": "closes every WebSocket with 1000, new ones at once, for ARG seconds",
    "close-1012": "closes every WebSocket with 1012, new ones at once, for ARG seconds",
    "market-closed": "freezes all prices, heartbeats go on, for ARG seconds",
    "nan": "blanks Greeks with empty texts and N/A for ARG seconds",
    "not-established": "is logged in without a brokerage session, all lists empty, for ARG seconds",
    "no-bridge": "answers 400 'no bridge' to requests of the brokerage session for ARG seconds",
    "odd-status": "sends wrong and partial status frames for ARG seconds; the session stays",
    "not-subscribed": "marks all data as not subscribed and sends none for ARG seconds",
    "bad-position": "lists a position of nonsense besides the others for ARG seconds",
    "delayed": "marks all data as delayed for ARG seconds",
}

# Every name here is a key of the gateway's verbs, and the other way round.
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
            help="gives only ARG contracts a market-data line from then on",
            default=10.0,
        ),
    }
)
