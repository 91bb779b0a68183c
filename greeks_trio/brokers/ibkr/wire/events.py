"""The events of IBKR's websocket, and the frames of requests.  Pure.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#websockets
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from greeks_trio.brokers.ibkr.wire.fields import OPTION_FIELDS, UNDERLYING_FIELDS
from greeks_trio.model.contracts import Conid
from greeks_trio.model.records import Availability, BrokerGreeks

# The frame that keeps the socket alive; bare text.
TIC: Final = "tic"


class GreeksQuote(BrokerGreeks, frozen=True, gc=False, kw_only=True):
    """A frame that carried a Greek or the implied volatility of one conid.

    ``event_time_ms`` is the frame's ``_updated``, ``payload`` the frame.
    """

    conid: Conid
    availability: Availability


class FieldsSeen(msgspec.Struct, frozen=True, gc=False):
    """A frame about a conid without any Greek: the subscription lives."""

    conid: Conid


class AvailabilityNoted(msgspec.Struct, frozen=True, gc=False):
    """Field 6509 of a conid has another first letter than before.

    Attributes:
        letter: Empty when IBKR has taken the field back.
    """

    conid: Conid
    letter: str


class GatewayReady(msgspec.Struct, frozen=True):
    """The gateway accepts requests from now on; it has dropped all earlier ones."""


class GatewayHeartbeat(msgspec.Struct, frozen=True):
    """The gateway is alive; comes every 10 s, or as the answer to a ``tic``."""


class SessionWanted(msgspec.Struct, frozen=True):
    """The gateway did not find the session in the cookie and waits for it."""


class SessionNews(msgspec.Struct, frozen=True):
    """The brokerage session changed; `None` for a missing claim.

    Single wrong frames with ``authenticated: false`` occur: ask over REST before acting.

    Attributes:
        has_session: Whether the session is authenticated and established.
    """

    has_session: bool | None
    competing: bool | None


class GatewayError(msgspec.Struct, frozen=True):
    """The gateway reports an error; reading goes on."""

    message: str


class Counted(msgspec.Struct, frozen=True):
    """Something to count by this short stable name, and nothing else to do."""

    name: str


Event: TypeAlias = (
    GreeksQuote
    | FieldsSeen
    | AvailabilityNoted
    | GatewayReady
    | GatewayHeartbeat
    | SessionWanted
    | SessionNews
    | GatewayError
    | Counted
)


def encode_subscribe(conid: Conid, *, underlying: bool = False) -> str:
    """Return the frame that subscribes a conid, or renews its subscription."""
    fields = UNDERLYING_FIELDS if underlying else OPTION_FIELDS
    return f"smd+{conid}+{msgspec.json.encode({'fields': fields}).decode()}"


def encode_unsubscribe(conid: Conid) -> str:
    """Return the frame that ends a subscription; nothing answers it."""
    return f"umd+{conid}+{{}}"


def encode_session(session_id: str) -> str:
    """Return the answer to `SessionWanted`."""
    return msgspec.json.encode({"session": session_id}).decode()
