"""One login at Tastytrade: its accounts, their positions, tokens for market data.

Source: https://developer.tastytrade.com
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Final
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.account_values import (
    CURRENCY,
    read_balances,
)
from greeks_trio.brokers.tastytrade.positions.accounts import (
    NOT_LISTED,
    AccountPositions,
    AccountReading,
    read_positions,
)
from greeks_trio.brokers.tastytrade.positions.chains import OptionChain
from greeks_trio.brokers.tastytrade.positions.instruments import Instrument
from greeks_trio.brokers.tastytrade.positions.market_metrics import read_metrics
from greeks_trio.brokers.tastytrade.rest import (
    UNAUTHORIZED,
    AccountItem,
    Items,
    QuoteTokenAnswer,
    Rest,
)
from greeks_trio.brokers.tastytrade.sdk import Session
from greeks_trio.brokers.tastytrade.transport import ApiTransport
from greeks_trio.config.addresses import require_private
from greeks_trio.config.settings import Secret, TastytradeConfig
from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.answer_dates import DatedTransport, TakeDate, ignore_date
from greeks_trio.foreign_text import is_account_id
from greeks_trio.model.account_values import SentValues
from greeks_trio.model.market_metrics import MarketMetrics
from greeks_trio.model.records import Availability
from greeks_trio.waiting import run_in_slices, utc_now

# Its sandbox does not accept the version header that the SDK sends otherwise.
_SANDBOX_HOST: Final = "api.cert.tastyworks.com"
# The account is closed to us, or gone.
_REFUSED_ACCOUNT: Final = (403, 404)
# A problem of the server with any request; no answer is one too.
SERVER_TROUBLE: Final = (None, UNAUTHORIZED, 429, 502, 503, 504)
_ALL_RIGHTS: Final = "owner"
# A sentence names this many accounts.
_NAMED: Final = 3
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
        named = set(accounts)
        open_accounts = [each for each, account in listed.items() if account.is_open]
        for account in sorted(named.difference(open_accounts)):
            problems.append(f"account {account} is not among the open accounts")
        hidden = _hidden_accounts(listed, previous, is_whole=not problems)
        chosen = [each for each in open_accounts if not named or each in named]
        kept = [each for each in hidden if not named or each in named]
        if not chosen and not kept:
            problems.append(_explain_no_account(listed))
        readings = await self._read_accounts({each: listed[each] for each in chosen})
        readings += [AccountReading(each, refusal=NOT_LISTED) for each in kept]
        return await run_in_slices(
            read_positions(
                readings,
                previous,
                problems,
                today=utc_now().date(),
                closed=[each for each in listed if each not in open_accounts],
            )
        )

    async def _read_accounts(
        self, accounts: Mapping[str, _ListedAccount]
    ) -> list[AccountReading]:
        """Return each account's positions, or why it has none to see.

        Raises:
            FeedInterrupted: The problem is not one of a single account.
        """
        readings: list[AccountReading] = []
        troubles: list[FeedInterrupted] = []
        for account_id, account in accounts.items():
            path = f"/accounts/{quote(account_id, safe='')}/positions"
            try:
                items = (await self._rest.get(path, Items)).items
            except FeedInterrupted as exc:
                if exc.http_status in SERVER_TROUBLE:
                    raise
                if exc.http_status not in _REFUSED_ACCOUNT:
                    troubles.append(exc)
                refusal = f"{exc}{account.authority}"
                readings.append(AccountReading(account_id, refusal=refusal))
            else:
                readings.append(
                    AccountReading(
                        account_id, tuple(items), authority=account.authority
                    )
                )
        if troubles and all(each.refusal is not None for each in readings):
            raise troubles[0]
        return readings

    async def read_values(self, account_id: str) -> SentValues | None:
        """Return the values of one account, `None` if the answer has another form.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        path = f"/accounts/{quote(account_id, safe='')}/balances/{CURRENCY}"
        return read_balances(await self._rest.get(path, Raw))

    async def read_metrics(
        self, asked: Mapping[str, Sequence[str]], at: datetime
    ) -> tuple[list[MarketMetrics], list[str]]:
        """Return the market metrics of symbols, and a sentence for each odd value.

        Args:
            asked: The symbols, each with the underlyings that it stands for.
            at: The time of the reading.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there was no usable answer.
        """
        path = f"/market-metrics?symbols={quote(','.join(asked), safe=',')}"
        return read_metrics((await self._rest.get(path, Items)).items, asked, at)

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

    async def instrument(self, symbol: str) -> Instrument:
        """Return the page of an option or of a future.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there is no such page, or it cannot be read.
        """
        # A future's path has no slash, a futures option's has one, escaped.
        if symbol.startswith("./"):
            folder, name = "future-options", symbol
        elif symbol.startswith("/"):
            folder, name = "futures", symbol.lstrip("/")
        else:
            folder, name = "equity-options", symbol
        path = f"/instruments/{folder}/{quote(name, safe='')}"
        return await self._rest.get(path, Instrument)

    async def option_products(self) -> list[Raw]:
        """Return the products of futures options.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there is no usable answer.
        """
        return (
            await self._rest.get("/instruments/future-option-products", Items)
        ).items

    async def option_chain(self, product: str) -> OptionChain:
        """Return the options on the futures of a product, such as ``ES``.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: there is no usable answer.
        """
        path = f"/futures-option-chains/{quote(product, safe='')}/nested"
        return await self._rest.get(path, OptionChain)

    async def _accounts(self) -> tuple[dict[str, _ListedAccount], list[str]]:
        """Return the listed accounts, and a sentence for each unreadable one."""
        items = await self._rest.get("/customers/me/accounts", Items)
        accounts: dict[str, _ListedAccount] = {}
        problems: list[str] = []
        for item in items.items:
            try:
                found = msgspec.json.decode(item, type=AccountItem)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
                problems.append(f"an account is not understood: {exc}")
                continue
            number = found.account.account_number
            if not is_account_id(number):
                problems.append(f"an account is left out: its number is {number!r}")
                continue
            accounts[number] = _ListedAccount(
                not found.account.is_closed, _explain_level(found.authority_level)
            )
        return accounts, problems


class _ListedAccount(msgspec.Struct, frozen=True):
    """An account in the list of the login, and our rights in it in words."""

    is_open: bool
    authority: str


def _explain_level(level: object) -> str:
    """Return our rights in an account in words, empty if they are all rights."""
    is_limited = isinstance(level, str) and level != _ALL_RIGHTS
    return f" (authority level {level})" if is_limited else ""


def _hidden_accounts(
    listed: Collection[str], previous: AccountPositions | None, *, is_whole: bool
) -> list[str]:
    """Return the known accounts that the list does not have and that stay all the same.

    An unreadable item may be any of them.  Otherwise an account stays for one reading.
    """
    if previous is None:
        return []
    return [
        each
        for each in previous.account_ids
        if each not in listed and not (is_whole and each in previous.unlisted)
    ]


def _explain_no_account(listed: Mapping[str, _ListedAccount]) -> str:
    if not listed:
        return "there is no account to stream: the login lists none"
    if any(each.is_open for each in listed.values()):
        return "there is no account to stream: TASTYTRADE_ACCOUNTS names no open one"
    closed = ", ".join(list(listed)[:_NAMED])
    return f"there is no account to stream: all {len(listed)} are closed ({closed})"


OpenSession = Callable[
    [TastytradeConfig], AbstractAsyncContextManager[TastytradeSession]
]


@asynccontextmanager
async def open_session(
    config: TastytradeConfig,
    make_transport: MakeTransport = httpx2.AsyncHTTPTransport,
    take_date: TakeDate = ignore_date,
) -> AsyncIterator[TastytradeSession]:
    """Log in with the configured credentials; leaving closes the HTTP connections.

    ``take_date`` gets the time of each answer.

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
        transport=ApiTransport(api_url, DatedTransport(make_transport(), take_date)),
    )
    async with sdk:
        session = TastytradeSession(Rest(sdk))
        await session.access_token()
        yield session
