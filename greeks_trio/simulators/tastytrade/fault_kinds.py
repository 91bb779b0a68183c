"""The faults of a simulated Tastytrade; see `greeks_trio.simulators.faults`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.fault_kinds import FaultKind

# The broker's verbs have exactly these names as keys.
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
            help="sends no events for ARG seconds; KEEPALIVEs go on", default=30.0
        ),
        "garbage": FaultKind(
            help="mixes invalid frames with the good ones for ARG seconds",
            default=10.0,
        ),
        "bad-utf8": FaultKind(
            help="sends each DXLink client one text frame of invalid UTF-8, then nothing more"
        ),
        "oversize": FaultKind(
            help="sends each DXLink client one frame of ARG MiB that has only valid events",
            default=4.0,
            most=64.0,
        ),
        "half-open": FaultKind(
            help="keeps present WebSockets open for ARG seconds without reading or sending",
            default=300.0,
        ),
        "refuse-login": FaultKind(
            help="refuses new logins for ARG seconds; a client that is logged in is not affected",
            default=30.0,
        ),
        "expire-session": FaultKind(
            help="makes all tokens expire, also those that it issues within ARG seconds",
            default=0.0,
        ),
        "duplicate": FaultKind(
            help="sends every event twice for ARG seconds", default=10.0
        ),
        "reorder": FaultKind(
            help="sends Greeks late, the newest first, for ARG seconds", default=10.0
        ),
        "nan": FaultKind(help="sends NaN for all Greeks for ARG seconds", default=10.0),
        "cold": FaultKind(
            help="starts the subscriptions of the next ARG seconds only after that time",
            default=30.0,
        ),
        "columns": FaultKind(
            help="sends columns in another order and without rho for ARG seconds",
            default=30.0,
        ),
        "full-format": FaultKind(
            help="sends the FULL data format to all clients for ARG seconds",
            default=30.0,
        ),
        "channel-close": FaultKind(
            help="closes every channel, and new channels at once, for ARG seconds",
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
            help="answers 502 to every WebSocket request for ARG seconds", default=30.0
        ),
        "unauthorized": FaultKind(
            help="answers AUTH with UNAUTHORIZED for ARG seconds; keeps the connection open",
            default=30.0,
        ),
        "errors": FaultKind(
            help="sends each DXLink client every kind of ERROR, without a real error"
        ),
        "markers": FaultKind(
            help="sends the marker of an empty snapshot for each subscribed option"
        ),
        "packed": FaultKind(
            help="packs events of all types into one frame for ARG seconds",
            default=10.0,
        ),
        "rate-limit": FaultKind(
            help="refuses new subscriptions as too frequent, with an ERROR, for ARG seconds",
            default=10.0,
        ),
        "delayed": FaultKind(
            help="gives quote tokens for delayed data for ARG seconds", default=30.0
        ),
        "bad-position": FaultKind(
            help="adds an invalid position to the list of positions for ARG seconds",
            default=60.0,
        ),
        "refuse-values": FaultKind(
            help="answers 403 to requests for account values for ARG seconds",
            default=30.0,
        ),
        "odd-values": FaultKind(
            help="sends account values as NaN, as a list or not at all for ARG seconds",
            default=30.0,
        ),
        "refuse-metrics": FaultKind(
            help="answers 403 to requests for market metrics for ARG seconds",
            default=30.0,
        ),
        "odd-metrics": FaultKind(
            help="sends betas as NaN and impossible IV ranks for ARG seconds",
            default=30.0,
        ),
        "streamer-close": FaultKind(
            help="closes the account streamer's WebSockets, new ones at once, for ARG seconds",
            default=0.0,
        ),
        "close-1000": FaultKind(help="closes the DXLink WebSockets with code 1000"),
        "close-1012": FaultKind(help="closes the DXLink WebSockets with code 1012"),
        "line-limit": FaultKind(
            help="accepts only half of the subscriptions for ARG seconds, else sends an ERROR",
            default=60.0,
        ),
        "market-closed": FaultKind(
            help="makes no new events for ARG seconds; KEEPALIVEs go on", default=60.0
        ),
    }
)
