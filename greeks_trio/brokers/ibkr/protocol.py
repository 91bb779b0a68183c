"""IBKR's websocket frames <-> events.  No I/O, no clock, no event loop.

After a subscription IBKR sends every field once, and from then on only those that
changed.  So the protocol object remembers, per conid and field, the last value and the
time of the frame that brought it.  A row takes a remembered field only if that time is
not later than the row's own; a late frame never overwrites a newer field.  This memory
is the only state here, and it dies with the connection.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#websockets
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from greeks_trio.brokers.ibkr.fields import (
    OPTION_FIELDS,
    UNDERLYING_FIELDS,
    Price,
    Scalar,
    Unreadable,
    parse_availability,
    parse_number,
    parse_percent,
    parse_price,
)
from greeks_trio.errors import ProtocolViolation
from greeks_trio.model.contracts import Conid
from greeks_trio.model.normalise import EARLIEST_MS, MAX_AHEAD
from greeks_trio.model.records import Availability, Greeks

# The only frame that is not JSON: the gateway's echo of a client's keep-alive.
KEEPALIVE_ECHO: Final = b"ech+hb"
# The frame that keeps the socket alive; bare text.
TIC: Final = "tic"

_MAX_AHEAD_MS: Final = MAX_AHEAD // timedelta(milliseconds=1)
# "smd+265598" and "smd+265598@SMART"; a combination ("smd+28812380;;;1/-1") does not
# match.
_QUOTE_TOPIC: Final = re.compile(r"smd\+(\d{1,18})(?:@\w+)?", re.ASCII)
# Topics that are sent unasked or by other clients' requests, and tell us nothing.
_IDLE_TOPICS: Final = frozenset(
    ("act", "blt", "ntf", "sor", "str", "spl", "ssd", "sld", "sbd", "smh", "shs", "inp")
)

# Places of the fields in a conid's memory, as in `greeks_trio.brokers.ibkr.fields`.
_IV, _AVAILABILITY, _LAST, _BID, _ASK = range(4, 9)
_PLACES: Final = 9
# The places before this one make a row: the Greeks, volatility and availability.
_ROW: Final = 6
_NEVER: Final = -1


class GreeksQuote(msgspec.Struct, frozen=True, gc=False):
    """A frame that carried a Greek or the implied volatility of one conid.

    Attributes:
        event_time_ms: ``_updated`` as sent, `None` when absent or not a number.
        greeks: What is known at that time, in canonical units; maybe nothing.
        payload: The frame, valid JSON in valid UTF-8.
    """

    conid: Conid
    event_time_ms: int | None
    greeks: Greeks
    availability: Availability
    payload: bytes


class FieldsSeen(msgspec.Struct, frozen=True, gc=False):
    """A frame about a conid without any Greek: the subscription lives."""

    conid: Conid


class GatewayReady(msgspec.Struct, frozen=True):
    """Requests are heard from now on; earlier ones are lost without a word."""


class GatewayHeartbeat(msgspec.Struct, frozen=True):
    """The gateway is alive; comes every 10 s, or as the answer to a ``tic``."""


class SessionWanted(msgspec.Struct, frozen=True):
    """The gateway did not find our session in the cookie and waits for it."""


class SessionNews(msgspec.Struct, frozen=True):
    """The brokerage session changed; `None` where the frame says nothing.

    Single spurious frames that say ``authenticated: false`` occur: ask over REST
    before acting.
    """

    authenticated: bool | None
    competing: bool | None


class GatewayError(msgspec.Struct, frozen=True):
    """The gateway did not like something; reading goes on."""

    message: str


class Counted(msgspec.Struct, frozen=True):
    """Something to count by this short stable name, and nothing else to do."""

    name: str


Event: TypeAlias = (
    GreeksQuote
    | FieldsSeen
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


class _Frame(msgspec.Struct):
    """What is read of any frame.  The order of the fields is that of the memory."""

    delta: Scalar | UnsetType = msgspec.field(name="7308", default=UNSET)
    gamma: Scalar | UnsetType = msgspec.field(name="7309", default=UNSET)
    theta: Scalar | UnsetType = msgspec.field(name="7310", default=UNSET)
    vega: Scalar | UnsetType = msgspec.field(name="7311", default=UNSET)
    volatility: Scalar | UnsetType = msgspec.field(name="7633", default=UNSET)
    availability: Scalar | UnsetType = msgspec.field(name="6509", default=UNSET)
    last: Scalar | UnsetType = msgspec.field(name="31", default=UNSET)
    bid: Scalar | UnsetType = msgspec.field(name="84", default=UNSET)
    ask: Scalar | UnsetType = msgspec.field(name="86", default=UNSET)
    topic: str | None = None
    conid: Scalar = None
    updated: Scalar = msgspec.field(name="_updated", default=None)
    success: Any = UNSET
    hb: Any = UNSET
    message: Any = UNSET
    error: Any = UNSET
    args: Any = UNSET


_DECODER: Final = msgspec.json.Decoder(_Frame)
_ATTRIBUTE_OF_KEY: Final = dict(
    zip(_Frame.__struct_encode_fields__, _Frame.__struct_fields__, strict=True)
)


class _Memory:
    """The last value of each field of one conid, and when it was true."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.values: list[Any] = [None] * _PLACES
        self.times: list[int] = [_NEVER] * _PLACES


class IbkrProtocol:
    """One connection's worth of memory.  Make a new one per connection."""

    def __init__(self) -> None:
        self._memories: dict[int, _Memory] = {}

    def receive_frame(
        self, frame: bytes | str, received_ms: int | None = None
    ) -> list[Event]:
        """Take one frame and return what it says, in order.

        Args:
            frame: A websocket message, binary or text.
            received_ms: The wall clock when it was read, milliseconds since 1970.
                It takes the place of an ``_updated`` that is absent or cannot be
                true; without it such a frame counts as the newest of its conid.

        Raises:
            ProtocolViolation: the frame is not a JSON object; count it, read on.
        """
        payload, mended = _clean(frame)
        try:
            message = _DECODER.decode(payload)
        except (msgspec.DecodeError, RecursionError):
            if payload == KEEPALIVE_ECHO:
                return [GatewayHeartbeat()]
            message, payload = _decode_leniently(payload, frame)
        topic = message.topic
        if topic is None or not topic.startswith("smd+") or message.error is not UNSET:
            return [_read_notice(message), *mended]
        events = self._receive_quote(message, topic, payload, received_ms)
        return events + mended if mended else events

    def underlying_price(self, conid: Conid) -> float | None:
        """Return the last trade of a conid, else the middle of bid and ask.

        A previous close counts only while nothing else is known.
        """
        memory = self._memories.get(conid)
        if memory is None:
            return None
        last: Price | None = memory.values[_LAST]
        if last is not None and last.kind != "close":
            return last.value
        bid, ask = memory.values[_BID], memory.values[_ASK]
        if bid is not None and ask is not None and bid.value > 0 and ask.value > 0:
            # Rounded, because the middle of 4712.49 and 4741.13 is 4726.81.
            return round(float(bid.value + ask.value) / 2, 8)
        return None if last is None else last.value

    def forget(self, conid: Conid) -> None:
        """Drop what is remembered of a conid that is no longer subscribed."""
        self._memories.pop(conid, None)

    def _receive_quote(
        self, message: _Frame, topic: str, payload: bytes, received_ms: int | None
    ) -> list[Event]:
        conid = message.conid
        if type(conid) is not int or ";" in topic:
            found = _QUOTE_TOPIC.fullmatch(topic)
            if found is None:
                return [Counted("frame.combination" if ";" in topic else "frame.conid")]
            conid = int(found[1])
        memory = self._memories.get(conid)
        if memory is None:
            memory = self._memories[conid] = _Memory()
        at = message.updated
        if type(at) is not int:
            at = message.updated = _parse_time(at)
        if at is None or at < EARLIEST_MS or _is_ahead(at, received_ms):
            at = max(memory.times) if received_ms is None else received_ms
        return _merge(memory, message, Conid(conid), at, payload)


def _merge(
    memory: _Memory, message: _Frame, conid: Conid, at: int, payload: bytes
) -> list[Event]:
    """Remember what the frame carries; ``message.updated`` has been read."""
    values, times = memory.values, memory.times
    row: list[Any] = [None] * _ROW
    noticed: list[Event] = []
    carries_greeks = False
    for place, raw in enumerate(astuple(message)[:_PLACES]):
        if raw is UNSET:
            if place < _ROW and times[place] <= at:
                row[place] = values[place]
            continue
        value = _parse(place, raw, noticed)
        if at >= times[place]:
            values[place], times[place] = value, at
        if place < _ROW:
            row[place] = value
            carries_greeks = carries_greeks or place != _AVAILABILITY
    if not carries_greeks:
        return [FieldsSeen(conid), *noticed]
    delta, gamma, theta, vega, volatility, availability = row
    greeks = Greeks(delta, gamma, theta, vega, None, volatility)
    updated = cast("int | None", message.updated)
    quote = GreeksQuote(conid, updated, greeks, availability or "unknown", payload)
    return [quote, *noticed]


def _clean(frame: bytes | str) -> tuple[bytes, list[Event]]:
    """Return the frame in valid UTF-8; what the gateway broke becomes U+FFFD."""
    if isinstance(frame, bytes) and frame.isascii():
        return frame, []
    try:
        text = frame if isinstance(frame, str) else frame.decode("utf-8")
        return text.encode("utf-8"), []
    except UnicodeError:
        if isinstance(frame, str):
            frame = frame.encode("utf-8", "surrogatepass")
        return frame.decode("utf-8", "replace").encode(), [Counted("frame.bad-utf8")]


def _parse(place: int, raw: object, noticed: list[Event]) -> object:
    """Return a field's value in our units, `None` for none or an unreadable one."""
    try:
        if place < _IV:
            return parse_number(raw)
        if place == _IV:
            fraction, signed = parse_percent(raw)
            if not signed:
                noticed.append(Counted("field.volatility-without-percent"))
            return fraction
        if place == _AVAILABILITY:
            return parse_availability(raw)
        return parse_price(raw)
    except Unreadable:
        noticed.append(Counted("field.unreadable"))
        return None


def _parse_time(raw: object) -> int | None:
    try:
        number = parse_number(raw)
    except Unreadable:
        return None
    return None if number is None else int(number)


def _is_ahead(at: int, received_ms: int | None) -> bool:
    return received_ms is not None and at > received_ms + _MAX_AHEAD_MS


def _read_notice(message: _Frame) -> Event:
    """Return what a frame without market data says."""
    topic = message.topic
    if topic == "system":
        return GatewayHeartbeat() if message.success is UNSET else GatewayReady()
    if topic == "tic":
        return GatewayHeartbeat()
    if topic == "sts":
        return _read_status(message.args)
    if message.error is not UNSET or topic == "error":
        return GatewayError(str(message.error)[:200])
    if topic is None:
        waiting = message.message == "waiting for session"
        return SessionWanted() if waiting else Counted("topic.none")
    head = topic[:3]
    return Counted(f"topic.{head}" if head in _IDLE_TOPICS else "topic.unknown")


def _read_status(args: object) -> Event:
    if not isinstance(args, dict):
        return Counted("frame.status")
    return SessionNews(
        _parse_claim(args.get("authenticated")), _parse_claim(args.get("competing"))
    )


def _parse_claim(raw: object) -> bool | None:
    if isinstance(raw, str):
        return {"true": True, "false": False}.get(raw.lower())
    return raw if isinstance(raw, bool) else None


def _decode_leniently(payload: bytes, frame: bytes | str) -> tuple[_Frame, bytes]:
    """Decode what msgspec refuses: NaN, lone surrogates, fields of a wrong type.

    A wrong type stays where it is: the parser of its field calls it unreadable.
    """
    try:
        text = payload.decode("utf-8").removeprefix("\ufeff")
        constants: list[str] = []

        def keep(constant: str) -> str:
            constants.append(constant)
            return constant

        content = json.loads(text, parse_constant=keep)
        # NaN and Infinity are no JSON; the database gets them as the text they were.
        text = json.dumps(content) if constants else text
    except (ValueError, RecursionError) as exc:
        raise ProtocolViolation("not-json", frame=frame) from exc
    if not isinstance(content, dict):
        raise ProtocolViolation("not-an-object", frame=frame)
    known = {
        attribute: content[key]
        for key, attribute in _ATTRIBUTE_OF_KEY.items()
        if key in content
    }
    if not isinstance(known.get("topic"), str):
        known["topic"] = None
    return _Frame(**known), text.encode()
