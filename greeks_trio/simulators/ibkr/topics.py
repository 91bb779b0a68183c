"""The requests to the gateway's WebSocket, and all its frames but prices.  Pure.

Source: IBKR Client Portal API, "WebSockets".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec

# An exchange may follow the conid.  The JSON may have spaces in it and around it.
_MARKET_DATA: Final = re.compile(
    r"(smd|umd)\+(\d{1,18}(?:@\w+)?)\+\s*(\{.*\})\s*", re.DOTALL
)
_COMBINATION: Final = re.compile(r"smd\+(\d{1,18};;;[-\d/,]+)\+.*", re.DOTALL)
_SESSION: Final = re.compile(r'\s*\{\s*"session"\s*:\s*"[^"]+"\s*\}\s*')

# Known topics without any message for a portfolio without orders.
_QUIET_TOPICS: Final = frozenset(
    [
        "sor",
        "uor",
        "str",
        "utr",
        "spl",
        "upl",
        "ssd",
        "usd",
        "sld",
        "uld",
        "smh",
        "umh",
        "sbd",
        "ubd",
    ]
)

# A trade mark sign in the encoding Windows-1252.
NO_UTF8: Final = b"Index Options\x99 (delayed)"
# Cumulated shares of the heartbeats: with a partial status, with a broken text.
_PARTIAL_SHARE, _BROKEN_SHARE = 0.05, 0.06

_PARTS: Final[tuple[dict[str, object], ...]] = ({"competing": False}, {"message": ""})

_encode = msgspec.json.Encoder().encode


class Subscribe(msgspec.Struct, frozen=True):
    """``smd+KEY+{"fields":[...]}``: send these fields too."""

    key: str
    fields: frozenset[str]


class SubscribeCombination(msgspec.Struct, frozen=True):
    """``smd+CONID;;;LEG/RATIO,...+{...}``."""

    key: str


class Unsubscribe(msgspec.Struct, frozen=True):
    """``umd+KEY+{}``."""

    key: str


class KeepAlive(msgspec.Struct, frozen=True):
    """``tic``."""


class Echo(msgspec.Struct, frozen=True):
    """``ech+hb``; the answer is the same text."""

    text: str


class Quiet(msgspec.Struct, frozen=True):
    """A known topic that gets no answer here."""


class Unknown(msgspec.Struct, frozen=True):
    """Anything else."""

    text: str


ClientRequest = (
    Subscribe | SubscribeCombination | Unsubscribe | KeepAlive | Echo | Quiet | Unknown
)


class _MarketDataArguments(msgspec.Struct):
    fields: list[str | int] = []


_decode_arguments = msgspec.json.Decoder(_MarketDataArguments).decode


def parse_request(text: str) -> ClientRequest:
    """Return the request in a client's text."""
    if text.strip() == "tic":
        return KeepAlive()
    if text.startswith("ech+"):
        return Echo(text)
    if (found := _MARKET_DATA.fullmatch(text)) is not None:
        return _parse_market_data(*found.groups(), text=text)
    if (found := _COMBINATION.fullmatch(text)) is not None:
        return SubscribeCombination(found[1])
    if text[:3] in _QUIET_TOPICS and text[3:4] in ("", "+"):
        return Quiet()
    return Unknown(text)


def is_session(text: str) -> bool:
    """Whether the text names a session, as a client without a cookie sends it."""
    return _SESSION.fullmatch(text) is not None


def encode_opening(
    account_ids: Sequence[str], now_ms: int, *, is_logged_in: bool
) -> list[bytes]:
    """Return the first frames of every connection, starting with ``system``."""
    system = {
        "topic": "system",
        "success": "simulated",
        "isFT": False,
        "isPaper": True,
    }
    message = "Simulated market \N{EN DASH} prices are made up\N{HORIZONTAL ELLIPSIS}"
    bulletin = {"id": now_ms // 1000, "exchanges": None, "message": message}
    return [
        _encode(system),
        _encode({"topic": "act", "args": _account_args(account_ids, now_ms)}),
        encode_status(_status_args(is_logged_in)),
        _encode({"topic": "blt", "args": [bulletin]}),
    ]


def encode_status(args: dict[str, object]) -> bytes:
    """Return a status frame about the login; it may have only some of the fields."""
    return _encode({"topic": "sts", "args": args})


def encode_waiting() -> bytes:
    """Return the first frame for a client without a cookie."""
    return _encode({"message": "waiting for session"})


def encode_heartbeat(now_ms: int) -> bytes:
    """Return the gateway's heartbeat."""
    return _encode({"topic": "system", "hb": now_ms})


def encode_keep_alive(session_id: str, now_ms: int) -> bytes:
    """Return the answer to ``tic``."""
    return _encode(
        {"topic": "tic", "alive": True, "id": session_id, "lastAccessed": now_ms}
    )


def encode_combination(key: str, now_ms: int) -> bytes:
    """Return the answer for a combination; it has no conid and no price."""
    return _encode({"_updated": now_ms, "topic": f"smd+{key}"})


def encode_unknown_topic(text: str, *, whole: bool = False) -> bytes:
    """Return the error for a text; its first three characters are the topic."""
    topic = text if whole else text[:3]
    return _encode({"error": f"Topic unknown '{topic}'", "code": 1})


def encode_notice(text: bytes, now_ms: int) -> bytes:
    """Return a notification; the text is not checked and may be invalid UTF-8."""
    notice = _encode({"topic": "ntf", "args": [{"id": f"{now_ms}", "text": "@"}]})
    return notice.replace(b"@", text)


def encode_beside_heartbeat(
    now_ms: int, random: Random, *, wrong_share: float
) -> list[bytes]:
    """Return the frames that sometimes follow a heartbeat.

    A status among them may be incomplete, and in ``wrong_share`` of all cases it is
    wrong; the login does not change.
    """
    luck = random.random()
    if luck > 1.0 - wrong_share:
        return [encode_status({"authenticated": False})]
    if luck < _PARTIAL_SHARE:
        return [encode_status(random.choice(_PARTS))]
    if luck < _BROKEN_SHARE:
        return [encode_notice(NO_UTF8, now_ms)]
    return []


def spoil(frame: bytes) -> bytes:
    """Add a text field that is not valid UTF-8 to a frame of market data."""
    if b'"smd+' not in frame or not frame.endswith(b"}"):
        return frame
    return frame[:-1] + b',"58":"' + NO_UTF8 + b'"}'


def _account_args(account_ids: Sequence[str], now_ms: int) -> dict[str, object]:
    return {
        "accounts": account_ids,
        "acctProps": {each: {"hasChildAccounts": False} for each in account_ids},
        "aliases": {each: each for each in account_ids},
        "selectedAccount": account_ids[0],
        "serverInfo": {"serverName": "Simulated"},
        "sessionId": f"{now_ms // 1000:08x}.00000001",
        "isFT": False,
        "isPaper": True,
    }


def _status_args(is_logged_in: bool) -> dict[str, object]:
    return {
        "connected": True,
        "authenticated": is_logged_in,
        "established": is_logged_in,
        "competing": False,
        "message": "",
        "fail": "",
        "serverName": "Simulated",
        "serverVersion": "Build 10.45.1a",
        "username": "simulated",
    }


def _parse_market_data(
    verb: str, key: str, arguments: str, *, text: str
) -> ClientRequest:
    if verb == "umd":
        return Unsubscribe(key)
    try:
        fields = _decode_arguments(arguments).fields
    except msgspec.DecodeError:
        return Unknown(text)
    return Subscribe(key, frozenset(map(str, fields)))
