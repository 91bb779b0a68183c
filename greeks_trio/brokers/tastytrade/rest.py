"""Requests to Tastytrade's REST interface through its SDK.

The SDK runs on Trio through anyio.  It owns the login and keeps the access token valid
(15 minutes); answers are read by us, because its models refuse a whole list for one bad
item.
"""

from __future__ import annotations

from copy import copy
from math import inf
from typing import Final, TypeVar

import httpx2
import msgspec
import trio
from msgspec import Raw

from greeks_trio.brokers.tastytrade.sdk import Session, TastytradeError
from greeks_trio.brokers.tastytrade.wire.text import mended_json
from greeks_trio.errors import BrokerError, FeedInterrupted

# The API answers within a second or two; a request that takes longer is better made
# again on a new connection.
REQUEST_LIMIT_S: Final = 15.0
UNAUTHORIZED: Final = 401
# A token lives for 15 minutes.  One that is refused or about to expire so soon after a
# login would not be better for another one, and logins must not become a storm.
LOGIN_DISTANCE_S: Final = 10.0

_T = TypeVar("_T")


class Account(msgspec.Struct, rename="kebab"):
    """An account of the customer."""

    account_number: str
    is_closed: bool | None = False


class AccountItem(msgspec.Struct, rename="kebab"):
    """One of the customer's accounts in a list, and our rights in it."""

    account: Account
    authority_level: object = None


class Items(msgspec.Struct):
    """A list; each item is read on its own."""

    items: list[Raw]


class QuoteTokenAnswer(msgspec.Struct, rename="kebab"):
    """A token for market data, and its server."""

    token: str
    dxlink_url: str
    level: str | None = None


def decode_data(content: bytes, expected: type[_T]) -> _T:
    """Return the ``data`` of an answer.

    NaN and Infinity, which JSON does not have, become texts: one odd number in a list must
    not cost the list.

    Raises:
        msgspec.DecodeError: it has none, or that is not as expected.
        UnicodeError: it is no UTF-8.
    """
    try:
        envelope = msgspec.json.decode(content, type=dict[str, Raw])
    except msgspec.DecodeError:
        if (mended := mended_json(content.decode())) is None:
            raise
        envelope = msgspec.json.decode(mended, type=dict[str, Raw])
    return msgspec.json.decode(envelope.get("data", Raw(b"null")), type=expected)


class Rest:
    """Sends requests with a valid token."""

    def __init__(self, sdk: Session) -> None:
        self._sdk = sdk
        # The time of the last login, and its error.
        self._asked_at = -inf
        self._failure: BrokerError | None = None
        # Requests run side by side, and one login is enough for them.
        self._logging_in = trio.Lock()

    async def access_token(self) -> str:
        """Return a token that is valid for another minute at least.

        Within `LOGIN_DISTANCE_S` after a login there is no other: the same token is
        returned, or the same error is raised.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        async with self._logging_in:
            if not self._may_log_in():
                if self._failure is not None:
                    raise copy(self._failure)
                return self._sdk.session_token
            before, asked_at = self._sdk.session_expiration, trio.current_time()
            try:
                await self._refresh()
            except BrokerError as exc:
                self._asked_at, self._failure = asked_at, copy(exc)
                raise
            if self._sdk.session_expiration != before:
                self._asked_at, self._failure = asked_at, None
            return self._sdk.session_token

    def _may_log_in(self) -> bool:
        return trio.current_time() >= self._asked_at + LOGIN_DISTANCE_S

    async def _refresh(self) -> None:
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                await self._sdk.refresh()
        except trio.TooSlowError:
            raise FeedInterrupted("Tastytrade does not answer the login") from None
        except (TastytradeError, ValueError, KeyError, TypeError, RecursionError):
            # Not chained: the answer may hold a token.
            raise FeedInterrupted(
                "Tastytrade's answer to the login is not understood"
            ) from None

    async def get(self, path: str, expected: type[_T]) -> _T:
        """Return the ``data`` of an answer.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        await self.access_token()
        try:
            response = await self._request(path)
        except FeedInterrupted as exc:
            if exc.http_status != UNAUTHORIZED or not self._may_log_in():
                raise
            # The token has expired, even if our clock says no.
            self._sdk.session_expiration = 0.0
            await self.access_token()
            response = await self._request(path)
        try:
            return decode_data(response.content, expected)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise FeedInterrupted(
                f"Tastytrade's answer to {path} is not understood",
                http_status=response.status_code,
            ) from None

    async def _request(self, path: str) -> httpx2.Response:
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                return await self._sdk._client.get(path)
        except trio.TooSlowError:
            raise FeedInterrupted(f"Tastytrade does not answer {path}") from None
