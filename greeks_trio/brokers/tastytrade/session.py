"""One login at Tastytrade: its accounts, their positions, tokens for market data.

Source: https://developer.tastytrade.com
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from urllib.parse import quote

import httpx2
import msgspec
from tastytrade.session import Session

from greeks_trio.brokers.tastytrade.positions.positions import (
    AccountPositions,
    AccountReading,
    read_positions,
)
from greeks_trio.brokers.tastytrade.rest import (
    UNAUTHORIZED,
    AccountItem,
    Instrument,
    Items,
    QuoteTokenAnswer,
    Rest,
)
from greeks_trio.brokers.tastytrade.transport import ApiTransport
from greeks_trio.config.addresses import require_private
from greeks_trio.config.settings import Secret, TastytradeConfig
from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from greeks_trio.model.contracts import StreamerSymbol
from greeks_trio.model.positions import open_options
from greeks_trio.model.records import Availability

logger = logging.getLogger(__name__)

# Its sandbox does not accept the version header that the SDK sends otherwise.
_SANDBOX_HOST: Final = "api.cert.tastyworks.com"
# The account is closed to us, or gone.
_REFUSED_ACCOUNT: Final = (403, 404)
# A problem of the server with any request; no answer is one too.
_TROUBLE: Final = (None, UNAUTHORIZED, 429, 502, 503, 504)
_AVAILABILITY: Final[dict[str | None, Availability]] = {
    "api": "realtime",
    "demo": "delayed",
}

MakeTransport = Callable[[], httpx2.AsyncBaseTransport]


class QuoteToken(msgspec.Struct, frozen=True):
    """The address and the token of the quote server; valid for 24 hours."""

    url: str
    token: Secret
    availability: Availability


class TastytradeSession:
    """One login.  Made by `open_session`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def access_token(self) -> str:
        """Return a token that is valid for another minute at least.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        return await self._rest.access_token()

    async def read_positions(
        self, accounts: Iterable[str] = (), previous: AccountPositions | None = None
    ) -> AccountPositions:
        """Return the positions of the open accounts, or of the named ones among them.

        An account that refuses the request does not hide the others.  Unreadable parts
        are taken from ``previous``.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: nothing can be read at present.
        """
        listed, problems = await self._accounts()
        known = previous.account_ids if previous is not None else ()
        # An unreadable account may be any account that is not listed.
        hidden = [each for each in known if problems and each not in listed]
        named = set(accounts)
        open_accounts = [each for each, is_open in listed.items() if is_open]
        for account in sorted(named.difference(open_accounts)):
            problems.append(f"account {account} is not among the open accounts")
        chosen = [each for each in open_accounts if not named or each in named]
        readings = await self._read_accounts(chosen)
        readings += [
            AccountReading(each, refusal="it is not listed")
            for each in hidden
            if not named or each in named
        ]
        return read_positions(readings, previous, problems)

    async def _read_accounts(self, account_ids: Iterable[str]) -> list[AccountReading]:
        """Return each account's positions, or why it has none to see.

        Raises:
            FeedInterrupted: The problem is not one of a single account.
        """
        readings: list[AccountReading] = []
        troubles: list[FeedInterrupted] = []
        for account_id in account_ids:
            path = f"/accounts/{quote(account_id, safe='')}/positions"
            try:
                items = (await self._rest.get(path, Items)).items
            except FeedInterrupted as exc:
                if exc.http_status in _TROUBLE:
                    raise
                if exc.http_status not in _REFUSED_ACCOUNT:
                    troubles.append(exc)
                readings.append(AccountReading(account_id, refusal=str(exc)))
            else:
                readings.append(AccountReading(account_id, tuple(items)))
        if troubles and all(each.refusal is not None for each in readings):
            raise troubles[0]
        return readings

    async def quote_token(self) -> QuoteToken:
        """Return a fresh token for market data, and where to present it.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there is no token, or it may not be sent there.
        """
        found = await self._rest.get("/api-quote-tokens", QuoteTokenAnswer)
        url = require_private(found.dxlink_url, what="the quote server's address")
        availability = _AVAILABILITY.get(found.level, "unknown")
        return QuoteToken(url, Secret(found.token), availability)

    async def streamer_symbols(
        self, symbols: Iterable[str]
    ) -> Mapping[str, StreamerSymbol]:
        """Return the streamer symbols of futures options and futures, where known.

        An unreadable instrument is left out: it must not hide the others.  If the server
        has a problem, the rest is not requested: a later call may do better.

        Raises:
            CredentialsRejected: the login was refused.
        """
        found: dict[str, StreamerSymbol] = {}
        for symbol in symbols:
            # A future's path has no slash, a futures option's has one, escaped.
            path = (
                f"/instruments/future-options/{quote(symbol, safe='')}"
                if symbol.startswith("./")
                else f"/instruments/futures/{quote(symbol.lstrip('/'), safe='')}"
            )
            try:
                instrument = await self._rest.get(path, Instrument)
            except FeedInterrupted as exc:
                # The caller reports the missing symbol; this is the reason.
                logger.debug("tastytrade.instrument_unread %s: %s", symbol, exc)
                if exc.http_status in _TROUBLE:
                    break
                continue
            if instrument.streamer_symbol:
                found[symbol] = StreamerSymbol(instrument.streamer_symbol)
        return found

    async def _accounts(self) -> tuple[dict[str, bool], list[str]]:
        """Return which accounts are open, and what could not be read of them."""
        items = await self._rest.get("/customers/me/accounts", Items)
        accounts: dict[str, bool] = {}
        problems: list[str] = []
        for item in items.items:
            try:
                account = msgspec.json.decode(item, type=AccountItem).account
            except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
                problems.append(f"an account is not understood: {exc}")
                continue
            accounts[account.account_number] = not account.is_closed
        return accounts, problems


OpenSession = Callable[
    [TastytradeConfig], AbstractAsyncContextManager[TastytradeSession]
]


@asynccontextmanager
async def open_session(
    config: TastytradeConfig,
    make_transport: MakeTransport = httpx2.AsyncHTTPTransport,
) -> AsyncIterator[TastytradeSession]:
    """Log in with the configured credentials; leaving closes the HTTP connections.

    Raises:
        CredentialsRejected: there are no credentials, or the login was refused.
        FeedInterrupted: Tastytrade could not be reached.
    """
    if not config.secret or not config.refresh:
        raise CredentialsRejected("TT_SECRET or TT_REFRESH is not set; set both")
    api_url = require_private(config.api_url, what="TASTYTRADE_API_URL")
    sdk = Session(
        config.secret.reveal(),
        config.refresh.reveal(),
        is_test=httpx2.URL(api_url).host == _SANDBOX_HOST,
        transport=ApiTransport(api_url, make_transport()),
    )
    async with sdk:
        session = TastytradeSession(Rest(sdk))
        await session.access_token()
        yield session


async def check_login(
    config: TastytradeConfig, *, open_session: OpenSession = open_session
) -> str:
    """Try the login and return one sentence about it, for a person at a terminal.

    Raises:
        CredentialsRejected: Tastytrade refused the configured login.
        FeedInterrupted: Tastytrade could not be reached or did not make sense.
    """
    async with open_session(config) as session:
        found = await session.read_positions(config.accounts)
        await session.quote_token()
    options = len(open_options(found.positions))
    sentence = (
        f"logged in, {_counted(len(found.account_ids), 'account')}, "
        f"{_counted(options, 'option position')}"
    )
    if found.refused:
        sentence += f", {_counted(found.refused, 'account')} not readable"
    if found.malformed:
        sentence += f", {_counted(found.malformed, 'position')} not understood"
    return sentence


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
