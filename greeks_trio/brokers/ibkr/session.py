"""The two sessions at the gateway: the login of a person, and the brokerage session.

A person logs in at the page of the gateway.  This module finds the login and opens the
brokerage session on top of it.  Each user has one brokerage session.  Only with
``compete`` in the configuration is it taken away from another program.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#session
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from greeks_trio.brokers.ibkr.accounts import Accounts
from greeks_trio.brokers.ibkr.positions.earlier import HOLES, Holdings
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import AccountPositions
from greeks_trio.brokers.ibkr.rest import GatewayClient, Pacer
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted, SessionLost
from greeks_trio.feeds.answer_dates import TakeDate, date_hooks, ignore_date
from greeks_trio.feeds.shortfalls import in_short
from greeks_trio.feeds.tls import make_ssl_context
from greeks_trio.foreign_text import is_header_token, register_secret
from greeks_trio.model.positions import open_options

logger = logging.getLogger(__name__)

# A brokerage session needs a few seconds to open.
_ESTABLISH_TRIES: Final = 10
_ESTABLISH_SPACING_S: Final = 1.0
# Requests reach it a few seconds later; until then IBKR answers "no bridge".
_BRIDGE_TRIES: Final = 8
_BRIDGE_SPACING_S: Final = 1.5
_BAD_REQUEST: Final = 400


class AuthStatus(msgspec.Struct, frozen=True):
    """The state of the brokerage session."""

    authenticated: bool = False
    connected: bool = False
    competing: bool = False
    established: bool | None = None
    fail: str | None = None

    @property
    def is_established(self) -> bool:
        """Whether data flows; without this IBKR answers empty lists and no error."""
        if self.established is None:  # gateways of before 2023
            return self.authenticated and self.connected
        return self.established and self.authenticated


class Tickle(msgspec.Struct, frozen=True):
    """The answer to the keep-alive; ``session_id`` opens the websocket."""

    session_id: str
    status: AuthStatus


class GatewaySession(GatewayClient):
    """The REST half of one connection to the gateway.

    Every method raises `FeedInterrupted` with a message for a person if the gateway does
    not answer, answers with an error, or has no login.
    """

    def __init__(
        self, client: httpx2.AsyncClient, config: IbkrConfig, pacer: Pacer
    ) -> None:
        super().__init__(client, config, pacer)
        self._compete = config.compete
        self.accounts = Accounts(self)

    async def log_in(self) -> str:
        """Find the login and open the brokerage session; return the id of the session."""
        tickle = await self.tickle()
        if not tickle.status.is_established:
            await self._establish(tickle.status)
            tickle = await self.tickle()
        await self.cross_bridge()
        return tickle.session_id

    async def tickle(self) -> Tickle:
        """Keep the brokerage session alive and return its state."""
        answer = _mapping(await self.request("POST", "/tickle"))
        session_id = answer.get("session")
        if not isinstance(session_id, str):
            said = answer.get("error")
            words = f": {str(said)[:120]}" if said else "; log in again"
            raise FeedInterrupted(f"the IBKR gateway gave no session{words}")
        register_secret(session_id)
        if not is_header_token(session_id):
            raise FeedInterrupted(
                "the IBKR gateway's session id has characters that no request can carry"
            )
        iserver = _mapping(answer.get("iserver"))
        return Tickle(session_id, _read_status(iserver.get("authStatus")))

    async def auth_status(self) -> AuthStatus:
        """Return the state of the brokerage session."""
        return _read_status(await self.request("POST", "/iserver/auth/status"))

    async def require_established(self) -> None:
        """Check that data flow; otherwise IBKR answers empty lists and no error.

        Raises:
            SessionLost: No data flow.
        """
        status = await self.auth_status()
        if not status.is_established:
            raise self.session_lost(status)

    async def cross_bridge(self) -> None:
        """Request the accounts until the brokerage session answers.

        Each brokerage session needs this once.  Without it some endpoints and streams
        stay empty.
        """
        for _ in range(_BRIDGE_TRIES):
            try:
                await self.request("GET", "/iserver/accounts")
            except FeedInterrupted as exc:
                if exc.http_status != _BAD_REQUEST:
                    raise
                logger.info("ibkr.no_bridge reason=%s", exc)
            else:
                return
            await trio.sleep(_BRIDGE_SPACING_S)
        await self.request("GET", "/iserver/accounts")

    def session_lost(self, status: AuthStatus) -> SessionLost:
        """Return the error for a brokerage session that has ended."""
        if not (status.authenticated or status.connected or status.competing):
            words = self.explain_no_login()
        elif status.competing:
            words = "another program has taken the IBKR brokerage session"
        else:
            words = "the IBKR brokerage session is lost"
        return SessionLost(words)

    async def _establish(self, status: AuthStatus) -> None:
        if not (status.authenticated or status.connected or status.competing):
            raise FeedInterrupted(self.explain_no_login())
        answer = _read_status(
            await self.request(
                "POST",
                "/iserver/auth/ssodh/init",
                content={"publish": True, "compete": self._compete},
            )
        )
        status = answer
        for _ in range(_ESTABLISH_TRIES):
            if status.is_established:
                return
            if status.competing and not self._compete:
                break
            await trio.sleep(_ESTABLISH_SPACING_S)
            status = await self.auth_status()
        raise FeedInterrupted(self._explain_not_established(answer, status))

    def _explain_not_established(self, answer: AuthStatus, status: AuthStatus) -> str:
        if answer.competing or status.competing:
            if self._compete:
                return (
                    "another program (TWS, the mobile app) uses this IBKR user's"
                    " brokerage session and takes it back each time"
                )
            return (
                "another program (TWS, the mobile app) uses this IBKR user's brokerage"
                " session; waiting for its end (IBKR_COMPETE=true would take it)"
            )
        said = answer.fail or status.fail
        words = "IBKR did not open the brokerage session"
        if not answer.authenticated:
            words += ", perhaps because another program (TWS, the mobile app) has it"
        return f"{words}: {said[:120]}" if said else words


OpenSession = Callable[[IbkrConfig, Pacer], AbstractAsyncContextManager[GatewaySession]]


@asynccontextmanager
async def open_session(
    config: IbkrConfig,
    pacer: Pacer,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    take_date: TakeDate = ignore_date,
) -> AsyncIterator[GatewaySession]:
    """Open the REST half of a connection; does not send anything yet.

    ``take_date`` gets the time of each answer.
    """
    context = make_ssl_context(config.api_url, config.ca_file, setting="IBKR_CA_FILE")
    async with httpx2.AsyncClient(
        verify=True if context is None else context,
        transport=transport,
        timeout=None,  # `request` has the deadline
        # A gateway on this machine needs no proxy from the environment.
        trust_env=not is_loopback(urlsplit(config.api_url).hostname),
        headers={"User-Agent": "greeks-trio"},
        event_hooks=date_hooks(take_date),
    ) as client:
        yield GatewaySession(client, config, pacer)


async def check_login(
    config: IbkrConfig, *, open_session: OpenSession = open_session
) -> str:
    """Try the login and return one sentence about it, for a person at a terminal.

    Never takes the brokerage session from another program.

    Raises:
        FeedInterrupted: There is no gateway, no login, or no brokerage session.
    """
    config = replace(config, compete=False)
    async with open_session(config, Pacer()) as session:
        await session.log_in()
        account_ids = await session.accounts.choose(config.accounts)
        known = KnownContracts()
        reading = await session.accounts.read(account_ids, known)
        problem = session.accounts.problem
    known.take(reading.rows, reading.instruments)
    holdings = Holdings(known)
    holdings.take(reading, account_ids)
    return "; ".join(_findings(account_ids, reading, holdings, problem))


def _findings(
    account_ids: Sequence[str],
    reading: AccountPositions,
    holdings: Holdings,
    problem: str | None,
) -> Iterator[str]:
    """Yield the size of the accounts, and then everything that is not in order."""
    options = len(open_options(reading.positions))
    accounts = _plural(len(account_ids), "account")
    yield f"logged in, {accounts}, {_plural(options, 'option position')}"
    if not reading.positions:
        yield "IBKR lists no position"
    if problem is not None:
        yield problem
    found: dict[str, list[str]] = {
        "position rows that could not be read": [x.name for x in reading.unreadable],
        "contract keys that several instruments share": [
            x.name for x in reading.shared_keys
        ],
        "accounts that IBKR does not list": list(reading.unread),
        **{HOLES[hole]: list(keys) for hole, keys in holdings.holes().items()},
    }
    for kind, names in found.items():
        if names:
            yield in_short(kind, names)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _read_status(content: object) -> AuthStatus:
    """Return the state in the answer; an unclear claim counts as false."""
    given = _mapping(content)
    claims: dict[str, Any] = {}
    for name in ("authenticated", "connected", "competing", "established"):
        raw = given.get(name)
        if isinstance(raw, str):
            raw = raw.lower() == "true"
        if isinstance(raw, bool):
            claims[name] = raw
    said = given.get("fail")
    return AuthStatus(**claims, fail=said if isinstance(said, str) and said else None)


def _mapping(content: object) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}
