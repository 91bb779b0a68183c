"""Bytes of IBKR's websocket -> the fields of a frame, also of a broken one.  Pure."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from greeks_trio.brokers.ibkr.wire.fields import Scalar
from greeks_trio.errors import ProtocolViolation


class Frame(msgspec.Struct):
    """The fields of a frame that are used, in the order of the memory."""

    delta: Scalar | UnsetType = msgspec.field(name="7308", default=UNSET)
    gamma: Scalar | UnsetType = msgspec.field(name="7309", default=UNSET)
    theta: Scalar | UnsetType = msgspec.field(name="7310", default=UNSET)
    vega: Scalar | UnsetType = msgspec.field(name="7311", default=UNSET)
    volatility: Scalar | UnsetType = msgspec.field(name="7633", default=UNSET)
    availability: Scalar | UnsetType = msgspec.field(name="6509", default=UNSET)
    last: Scalar | UnsetType = msgspec.field(name="31", default=UNSET)
    bid: Scalar | UnsetType = msgspec.field(name="84", default=UNSET)
    ask: Scalar | UnsetType = msgspec.field(name="86", default=UNSET)
    mark: Scalar | UnsetType = msgspec.field(name="7635", default=UNSET)
    topic: str | None = None
    conid: Scalar = None
    updated: Scalar = msgspec.field(name="_updated", default=None)
    success: Any = UNSET
    hb: Any = UNSET
    message: Any = UNSET
    error: Any = UNSET
    args: Any = UNSET


_DECODER: Final = msgspec.json.Decoder(Frame)
_ATTRIBUTE_OF_KEY: Final = dict(
    zip(Frame.__struct_encode_fields__, Frame.__struct_fields__, strict=True)
)


def decode_frame(frame: bytes | str) -> tuple[Frame, bytes, bool]:
    """Return the fields, the frame in valid UTF-8, and whether it had to be mended.

    Raises:
        ProtocolViolation: The frame is not a JSON object.
    """
    payload, is_mended = _clean(frame)
    try:
        return _DECODER.decode(payload), payload, is_mended
    except (msgspec.DecodeError, RecursionError):
        return *_decode_leniently(payload, frame), is_mended


def _clean(frame: bytes | str) -> tuple[bytes, bool]:
    """Return the frame in valid UTF-8; each invalid byte becomes U+FFFD."""
    if isinstance(frame, bytes) and frame.isascii():
        return frame, False
    try:
        text = frame if isinstance(frame, str) else frame.decode("utf-8")
        return text.encode("utf-8"), False
    except UnicodeError:
        if isinstance(frame, str):
            frame = frame.encode("utf-8", "surrogatepass")
        return frame.decode("utf-8", "replace").encode(), True


def _real(text: str) -> float | str:
    """Return the number; one that is too large for a double stays a text."""
    number = float(text)
    return number if isfinite(number) else text


def _decode_leniently(payload: bytes, frame: bytes | str) -> tuple[Frame, bytes]:
    """Decode NaN, lone surrogates and fields of a wrong type, which msgspec refuses.

    A value of a wrong type is kept: the parser of its field calls it unreadable.
    """
    try:
        text = payload.decode("utf-8").removeprefix("\ufeff")
        constants: list[str] = []

        def keep(constant: str) -> str:
            constants.append(constant)
            return constant

        content = json.loads(text, parse_constant=keep, parse_float=_real)
        # NaN and Infinity are no JSON; the database gets them as texts.
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
    return Frame(**known), text.encode()
