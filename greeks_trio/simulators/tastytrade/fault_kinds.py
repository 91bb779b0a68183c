"""The faults of a simulated Tastytrade; see `greeks_trio.simulators.faults`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.fault_kinds import FaultKind

# Every name here is a key of the broker's verbs, and the other way round.
TASTYTRADE_FAULTS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {
        "drop": FaultKind(
            help="closes every connection and refuses new ones for ARG seconds",
            default=5.0,
        ),
        "silent": FaultKind(
            help="sends nothing at all on any WebSocket for ARG seconds; keeps reading",
            # Longer than a client may wait for a KEEPALIVE.
            default=90.0,
        ),
        "no-data": FaultKind(
            help="sends no event for ARG seconds, KEEPALIVEs go on", default=30.0
        ),
        "garbage": FaultKind(
            help="mixes frames that make no sense with the good ones for ARG seconds",
            default=10.0,
        ),
        "bad-utf8": FaultKind(
            help="sends each DXLink client one text frame that is no UTF-8, then no more"
        ),
        "oversize": FaultKind(
            help="sends each DXLink client one frame of ARG MiB, all of it valid events",
            default=4.0,
            most=64.0,
        ),
        "half-open": FaultKind(
            help="leaves the present WebSockets open, deaf and mute, for ARG seconds",
            default=300.0,
        ),
        "refuse-login": FaultKind(
            help="refuses new logins for ARG seconds; a client that is logged in is not affected",
            default=30.0,
        ),
        "expire-session": FaultKind(
            help="lets all tokens expire, and for ARG seconds every one issued meanwhile",
            default=0.0,
        ),
        "duplicate": FaultKind(
            help="sends every event twice for ARG seconds", default=10.0
        ),
        "reorder": FaultKind(
            help="sends Greeks late and the newest first for ARG seconds", default=10.0
        ),
        "nan": FaultKind(help="sends NaN for all Greeks for ARG seconds", default=10.0),
        "cold": FaultKind(
            help="sends nothing for subscriptions made within ARG seconds until then",
            default=30.0,
        ),
        "columns": FaultKind(
            help="sends columns in another order and without rho for ARG seconds",
            default=30.0,
        ),
        "full-format": FaultKind(
            help="sends the FULL data format to everybody for ARG seconds",
            default=30.0,
        ),
        "channel-close": FaultKind(
            help="closes every channel, and for ARG seconds each that is requested",
            default=0.0,
        ),
        "http-429": FaultKind(
            help="answers 429 with Retry-After to every request for ARG seconds",
            default=30.0,
        ),
        "http-503": FaultKind(
            help="answers 503 to every request for ARG seconds", default=30.0
        ),
        "upgrade-502": FaultKind(
            help="answers 502 to who wants a WebSocket for ARG seconds", default=30.0
        ),
        "unauthorized": FaultKind(
            help="answers every AUTH with UNAUTHORIZED, and goes on, for ARG seconds",
            default=30.0,
        ),
        "errors": FaultKind(
            help="sends each DXLink client an ERROR of every kind; nothing else changes"
        ),
        "markers": FaultKind(
            help="sends the marker of an empty snapshot for each subscribed option"
        ),
        "packed": FaultKind(
            help="packs events of all types into one frame for ARG seconds",
            default=10.0,
        ),
        "rate-limit": FaultKind(
            help="refuses subscriptions as too fast, with ERROR, for ARG seconds",
            default=10.0,
        ),
        "delayed": FaultKind(
            help="gives quote tokens for delayed data for ARG seconds", default=30.0
        ),
        "bad-position": FaultKind(
            help="lists a position of nonsense besides the others for ARG seconds",
            default=60.0,
        ),
        "streamer-close": FaultKind(
            help="closes the account streamer, new ones at once, for ARG seconds",
            default=0.0,
        ),
        "close-1000": FaultKind(help="closes the DXLink WebSockets with code 1000"),
        "close-1012": FaultKind(help="closes the DXLink WebSockets with code 1012"),
        "line-limit": FaultKind(
            help="for ARG seconds takes half as many subscriptions as before, with ERROR",
            default=60.0,
        ),
        "market-closed": FaultKind(
            help="has no new event for ARG seconds; KEEPALIVEs go on", default=60.0
        ),
    }
)
