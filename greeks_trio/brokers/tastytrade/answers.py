"""What Tastytrade's REST interface answers, as far as we need it.  Pure.

Source: https://developer.tastytrade.com
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw

_T = TypeVar("_T")


class Account(msgspec.Struct, rename="kebab"):
    """An account of the customer."""

    account_number: str
    is_closed: bool = False


class AccountItem(msgspec.Struct):
    """One of the customer's accounts, with what we may do there."""

    account: Account


class Items(msgspec.Struct):
    """A list, each item to be read for itself."""

    items: list[Raw]


class QuoteTokenAnswer(msgspec.Struct, rename="kebab"):
    """A token for market data, and where it is good."""

    token: str
    dxlink_url: str
    level: str | None = None


class Instrument(msgspec.Struct, rename="kebab"):
    """As much of an instrument as its own page is asked for."""

    streamer_symbol: str | None = None


def decode_data(content: bytes, expected: type[_T]) -> _T:
    """Return the ``data`` of an answer.

    Raises:
        msgspec.DecodeError: it has none, or that is not as expected.
    """
    envelope = msgspec.json.decode(content, type=dict[str, Raw])
    return msgspec.json.decode(envelope.get("data", Raw(b"null")), type=expected)
