"""IBKR's websocket frames <-> events.  No I/O, no clock, no event loop.

After a subscription IBKR sends every field once, and from then on only those that
changed.  So the protocol object remembers, per conid and field, the last value and the
time of the frame that brought it.  A row takes a remembered field only if that time is
not later than the row's own; a late frame never overwrites a newer field.  This memory
is the only state here, and it dies with the connection.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#websockets
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from datetime import timedelta
from typing import Any, Final, cast

from msgspec import UNSET
from msgspec.structs import astuple

from greeks_trio.brokers.ibkr.wire.events import (
    AvailabilityNoted,
    Counted,
    Event,
    FieldsSeen,
    GatewayError,
    GatewayHeartbeat,
    GatewayReady,
    GreeksQuote,
    SessionNews,
    SessionWanted,
)
from greeks_trio.brokers.ibkr.wire.fields import (
    Price,
    Unreadable,
    availability_of,
    parse_letter,
    parse_number,
    parse_percent,
    parse_price,
)
from greeks_trio.brokers.ibkr.wire.frames import Frame, decode_frame
from greeks_trio.brokers.ibkr.wire.memory import (
    ASK,
    AVAILABILITY,
    BID,
    GREEKS,
    IV,
    LAST,
    MARK,
    PLACES,
    FieldMemory,
)
from greeks_trio.brokers.ibkr.wire.quick_frames import (
    QuickFrame,
    decode_quick,
    quick_values,
)
from greeks_trio.model.contracts import Conid
from greeks_trio.model.normalise import EARLIEST_MS, MAX_AHEAD
from greeks_trio.model.possible import PriceKind, price_range
from greeks_trio.model.records import Greeks
from greeks_trio.model.underlying_price import UnderlyingPrice

# The only frame that is not JSON: the gateway's echo of a client's keep-alive.
KEEPALIVE_ECHO: Final = (b"ech+hb", "ech+hb")

_OPTION_PRICE: Final = price_range("option")
_MAX_AHEAD_MS: Final = MAX_AHEAD // timedelta(milliseconds=1)
# "smd+265598" and "smd+265598@SMART"; a combination ("smd+28812380;;;1/-1") does not
# match.
_QUOTE_TOPIC: Final = re.compile(r"smd\+(\d{1,18})(?:@\w+)?", re.ASCII)
# Topics that are sent unasked or by other clients' requests, and tell us nothing.
_IDLE_TOPICS: Final = frozenset(
    ("act", "blt", "ntf", "sor", "str", "spl", "ssd", "sld", "sbd", "smh", "shs", "inp")
)


class IbkrProtocol:
    """One connection's worth of memory.  Make a new one per connection.

    Args:
        subscribed: The conids that deserve memory, as they are when a frame comes;
            frames about others are counted and dropped.  `None` takes them all.
    """

    def __init__(self, subscribed: Container[Conid] | None = None) -> None:
        self._subscribed = subscribed
        self._memories: dict[int, FieldMemory] = {}

    def receive_frame(
        self, frame: bytes | str, received_ms: int | None = None
    ) -> list[Event]:
        """Take one frame and return its events, in order.

        Args:
            frame: A websocket message, binary or text.
            received_ms: The wall clock when it was read, milliseconds since 1970;
                an ``_updated`` far ahead of it cannot be true.

        Raises:
            ProtocolViolation: The frame is not a JSON object; count it, read on.
        """
        if isinstance(frame, str) and frame.isascii():
            frame = frame.encode()
        quick = decode_quick(frame)
        if quick is not None:
            events = self._receive_quick(quick, cast(bytes, frame), received_ms)
            if events is not None:
                return events
        if frame in KEEPALIVE_ECHO:
            return [GatewayHeartbeat()]
        message, payload, is_mended = decode_frame(frame)
        topic = message.topic
        if topic is None or not topic.startswith("smd+") or message.error is not UNSET:
            events = [_read_notice(message)]
        else:
            events = self._receive_quote(message, topic, payload, received_ms)
        if is_mended:
            events.append(Counted("frame.bad-utf8"))
        return events

    def underlying_price(
        self, conid: Conid, kind: PriceKind, count: Callable[[str], object]
    ) -> UnderlyingPrice | None:
        """Return the price of a conid, `None` while it has none.

        It is the newer of the last trade and the middle of the market, otherwise the mark
        price.  A price from before a halt and a previous close count only while there is
        nothing else.

        Args:
            conid: One that is subscribed.
            kind: The same for each call about the conid.
            count: Called with ``impossible.underlying-price`` for each new value that
                is none.
        """
        memory = self._memories.get(conid)
        if memory is None:
            return None
        return memory.underlying_price(kind, count)

    def forget(self, conid: Conid) -> None:
        """Drop the memory of a conid that is no longer subscribed."""
        self._memories.pop(conid, None)

    def _receive_quick(
        self, quick: QuickFrame, payload: bytes, received_ms: int | None
    ) -> list[Event] | None:
        """Return the events of a usual frame, `None` if it is not so usual after all."""
        memory = self._memories.get(quick.conid)
        at: int = quick.updated
        if (
            memory is None
            or at < memory.newest
            or at < EARLIEST_MS
            or _is_ahead(at, received_ms)
        ):
            return None
        fields = quick_values(quick)
        if fields is None:
            return None
        values = memory.values
        letter = values[AVAILABILITY]
        has_greeks = memory.take_newest(fields, at)
        noticed: list[Event] = []
        if letter != values[AVAILABILITY]:
            noticed.append(AvailabilityNoted(quick.conid, values[AVAILABILITY] or ""))
        if not has_greeks:
            return [FieldsSeen(quick.conid), *noticed]
        return [_quote(quick.conid, values, at, payload, noticed), *noticed]

    def _receive_quote(
        self, message: Frame, topic: str, payload: bytes, received_ms: int | None
    ) -> list[Event]:
        conid = message.conid
        if type(conid) is not int or ";" in topic:
            found = _QUOTE_TOPIC.fullmatch(topic)
            if found is None:
                return [Counted("frame.combination" if ";" in topic else "frame.conid")]
            conid = int(found[1])
        memory = self._memories.get(conid)
        if memory is None:
            if self._subscribed is not None and conid not in self._subscribed:
                return [Counted("quote.not-wanted")]
            memory = self._memories[conid] = FieldMemory()
        at = message.updated
        if type(at) is not int:
            at = message.updated = _parse_time(at)
        if at is None or at < EARLIEST_MS or _is_ahead(at, received_ms):
            # As new as the newest known field.  Our own clock may be ahead of IBKR's;
            # its time would shut out the frames that follow.
            at = memory.newest
        return _merge(memory, message, Conid(conid), at, payload)


def _merge(
    memory: FieldMemory, message: Frame, conid: Conid, at: int, payload: bytes
) -> list[Event]:
    """Remember the fields of the frame; ``message.updated`` has been read."""
    noticed: list[Event] = []
    named = _named_fields(message, noticed)
    letter = memory.values[AVAILABILITY]
    memory.take(named, at)
    if letter != memory.values[AVAILABILITY]:
        noticed.append(AvailabilityNoted(conid, memory.values[AVAILABILITY] or ""))
    if not named or named[0][0] >= GREEKS:
        return [FieldsSeen(conid), *noticed]
    row = memory.row_at(at)
    if row is not memory.values:
        for place, value in named:
            row[place] = value
    event_time_ms = cast("int | None", message.updated)
    return [_quote(conid, row, event_time_ms, payload, noticed), *noticed]


def _quote(
    conid: Conid,
    row: list[Any],
    event_time_ms: int | None,
    payload: bytes,
    noticed: list[Event],
) -> GreeksQuote:
    return GreeksQuote(
        Greeks(row[0], row[1], row[2], row[3], None, row[IV]),
        event_time_ms,
        payload,
        _option_price(row, noticed),
        row[BID],
        row[ASK],
        conid=conid,
        availability=availability_of(row[AVAILABILITY]),
    )


def _named_fields(message: Frame, noticed: list[Event]) -> list[tuple[int, Any]]:
    """Return the places and values of the fields that the frame has, in their order."""
    return [
        (place, _parse(place, raw, noticed))
        for place, raw in enumerate(astuple(message)[:PLACES])
        if raw is not UNSET
    ]


def _option_price(row: list[Any], noticed: list[Event]) -> float | None:
    """Return the mark price, otherwise the last one."""
    mark: float | None = row[MARK]
    last: Price | None = row[LAST]
    if last is None:
        return mark
    if mark is not None:
        if _OPTION_PRICE.has(mark):
            return mark
        noticed.append(Counted("impossible.price"))
    return last.value


def _parse(place: int, raw: object, noticed: list[Event]) -> object:
    """Return a field's value in our units, `None` for none or an unreadable one."""
    try:
        if place < IV:
            return parse_number(raw)
        if place == IV:
            fraction, signed = parse_percent(raw)
            if not signed:
                noticed.append(Counted("field.volatility-without-percent"))
            return fraction
        if place == AVAILABILITY:
            return parse_letter(raw)
        return parse_price(raw) if place == LAST else parse_number(raw)
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


def _read_notice(message: Frame) -> Event:
    """Return the event of a frame without market data."""
    topic = message.topic
    if topic == "system":
        return GatewayHeartbeat() if message.success is UNSET else GatewayReady()
    if topic == "tic":
        return GatewayHeartbeat()
    if topic == "sts":
        return _read_status(message.args)
    if message.error is not UNSET or topic == "error":
        words = "no words" if message.error is UNSET else str(message.error)
        return GatewayError(words[:200])
    if topic is None:
        waiting = message.message == "waiting for session"
        return SessionWanted() if waiting else Counted("topic.none")
    head = topic[:3]
    return Counted(f"topic.{head}" if head in _IDLE_TOPICS else "topic.unknown")


def _read_status(args: object) -> Event:
    if not isinstance(args, dict):
        return Counted("frame.status")
    claims = {_parse_claim(args.get(name)) for name in ("authenticated", "established")}
    # Either one without the other is no session.
    has_session = False if False in claims else (True if True in claims else None)
    return SessionNews(has_session, _parse_claim(args.get("competing")))


def _parse_claim(raw: object) -> bool | None:
    if isinstance(raw, str):
        return {"true": True, "false": False}.get(raw.lower())
    return raw if isinstance(raw, bool) else None
