"""Requests to Tastytrade's REST interface through its SDK.

The SDK runs on Trio through anyio.  It owns the login and keeps the access token valid
(15 minutes); answers are read by us, because its models refuse a whole list for one bad
item.
"""

from __future__ import annotations

from typing import Final, TypeVar

import httpx2
import msgspec
import trio
from tastytrade.session import Session
from tastytrade.utils import TastytradeError

from greeks_trio.brokers.tastytrade.answers import decode_data
from greeks_trio.errors import FeedInterrupted

# The API answers within a second or two; a request that takes longer is better made
# again on a new connection.
REQUEST_LIMIT_S: Final = 15.0
UNAUTHORIZED: Final = 401

_T = TypeVar("_T")


class Rest:
    """Asks with a token that is valid."""

    def __init__(self, sdk: Session) -> None:
        self._sdk = sdk

    async def access_token(self) -> str:
        """Return a token that is valid for another minute at least.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                await self._sdk.refresh()
        except trio.TooSlowError:
            raise FeedInterrupted("Tastytrade does not answer the login") from None
        except (TastytradeError, ValueError, KeyError, TypeError):
            # Not chained: what the answer held may be a token.
            raise FeedInterrupted("Tastytrade's answer to the login is odd") from None
        return self._sdk.session_token

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
            if exc.http_status != UNAUTHORIZED:
                raise
            # Whatever our clock says, the token has expired.
            self._sdk.session_expiration = 0.0
            await self.access_token()
            response = await self._request(path)
        try:
            return decode_data(response.content, expected)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise FeedInterrupted(
                f"Tastytrade's answer to {path} is odd",
                http_status=response.status_code,
            ) from None

    async def _request(self, path: str) -> httpx2.Response:
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                return await self._sdk._client.get(path)
        except trio.TooSlowError:
            raise FeedInterrupted(f"Tastytrade does not answer {path}") from None
