"""The gateway over REST: login state, keep-alive, accounts, positions.

A person logs in at the gateway's own page; we find a login or say that there is none.
The brokerage session on top of it is ours to open, and we never take it away from
another program (``compete`` is always false).

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#session
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from greeks_trio.brokers.ibkr.positions import Holdings, Listing, read_holdings
from greeks_trio.brokers.ibkr.tls import is_loopback, make_ssl_context
from greeks_trio.config import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import Conid
from greeks_trio.model.positions import open_options

# The gateway relays to IBKR's servers; beyond this it hangs.
REQUEST_LIMIT_S: Final = 15.0
# Ten requests a second is the limit for a user, over all programs; half is ours.
_REQUEST_SPACING_S: Final = 0.2
# These are allowed once in five seconds and once a second; a little more to be safe.
_SPACINGS_S: Final = {"/portfolio/accounts": 5.1, "/tickle": 1.1}
# How long IBKR locks out a user who was too fast.
PENALTY_S: Final = 600.0
# A brokerage session that was asked for needs a few seconds.
_ESTABLISH_TRIES: Final = 10
_ESTABLISH_SPACING_S: Final = 1.0
# The first read of a session is cold, the second one usually is not.
_COLD_DELAYS_S: Final = (0.5, 1.0, 2.0, 2.0)
_PAGE_SIZE: Final = 100
# More positions than anyone has; a gateway that ignores the page would never end.
_PAGE_CAP: Final = 100


class AuthStatus(msgspec.Struct, frozen=True):
    """What the gateway says of the brokerage session."""

    authenticated: bool = False
    connected: bool = False
    competing: bool = False
    established: bool | None = None

    @property
    def is_established(self) -> bool:
        """Whether data flows; before that IBKR answers empty lists without an error."""
        if self.established is None:  # gateways of before 2023
            return self.authenticated and self.connected
        return self.established and self.authenticated


class Tickle(msgspec.Struct, frozen=True):
    """The answer to the keep-alive; ``session_id`` opens the websocket."""

    session_id: str
    status: AuthStatus


class Pacer:
    """Keeps requests apart, across connections."""

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}

    async def wait_turn(self, path: str) -> None:
        """Wait until a request may go out."""
        spacings = {"": _REQUEST_SPACING_S}
        if path in _SPACINGS_S:
            spacings[path] = _SPACINGS_S[path]
        turn = max(
            trio.current_time(), *(self._next_at.get(name, 0.0) for name in spacings)
        )
        for name, spacing_s in spacings.items():
            self._next_at[name] = turn + spacing_s
        await trio.sleep_until(turn)


class GatewaySession:
    """The REST half of one connection to the gateway.

    Every method raises `FeedInterrupted` when the gateway does not answer, answers
    with an error, or has no login; its words are for a person.
    """

    def __init__(
        self, client: httpx2.AsyncClient, config: IbkrConfig, pacer: Pacer
    ) -> None:
        self._client = client
        self._config = config
        self._pacer = pacer
        parts = urlsplit(config.api_url)
        self._login_page = f"{parts.scheme}://{parts.netloc}/"
        self._account_ids: tuple[str, ...] | None = None

    async def log_in(self) -> str:
        """Find the login, open the brokerage session; return the id of the session."""
        tickle = await self.tickle()
        if not tickle.status.is_established:
            await self._establish(tickle.status)
            tickle = await self.tickle()
        # Without this call some endpoints and streams stay empty.
        await self.request("GET", "/iserver/accounts")
        return tickle.session_id

    async def tickle(self) -> Tickle:
        """Keep the brokerage session alive and return its state."""
        answer = _mapping(await self.request("POST", "/tickle"))
        session_id = answer.get("session")
        if not isinstance(session_id, str):
            raise FeedInterrupted("the IBKR gateway gave no session; log in again")
        iserver = _mapping(answer.get("iserver"))
        return Tickle(session_id, _read_status(iserver.get("authStatus")))

    async def auth_status(self) -> AuthStatus:
        """Return the state of the brokerage session."""
        return _read_status(await self.request("POST", "/iserver/auth/status"))

    async def require_established(self) -> None:
        """Make sure that data flow; else IBKR answers empty lists without an error."""
        if not (await self.auth_status()).is_established:
            raise FeedInterrupted("the IBKR brokerage session is lost")

    async def account_ids(self, wanted: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the login's accounts, of these only the wanted ones if any are named.

        Asks once; IBKR wants that request before any for positions.
        """
        if self._account_ids is None:
            entries = map(
                _mapping, _rows(await self.request("GET", "/portfolio/accounts"))
            )
            ids = (entry.get("accountId") or entry.get("id") for entry in entries)
            self._account_ids = tuple(str(each) for each in ids if each)
        chosen = (each for each in self._account_ids if not wanted or each in wanted)
        if not (account_ids := tuple(chosen)):
            if not self._account_ids:
                raise FeedInterrupted("the IBKR gateway names no account")
            raise FeedInterrupted(
                f"the IBKR login has no account {' or '.join(wanted)} (IBKR_ACCOUNTS)"
            )
        return account_ids

    async def read_holdings(
        self, account_ids: Sequence[str], known: dict[Conid, Listing]
    ) -> Holdings:
        """Return what the accounts hold, read again while the answer is cold.

        After a few reads that changed nothing it returns what there is.
        """
        holdings = await self.read_holdings_once(account_ids, known)
        for delay in _COLD_DELAYS_S:
            if not holdings.is_cold:
                break
            await trio.sleep(delay)
            holdings = await self.read_holdings_once(account_ids, known)
        return holdings

    async def read_holdings_once(
        self, account_ids: Sequence[str], known: dict[Conid, Listing]
    ) -> Holdings:
        """Return what the accounts hold, all pages."""
        rows = [
            (account_id, row)
            for account_id in account_ids
            for row in await self._read_account(account_id)
        ]
        return read_holdings(rows, known)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: Mapping[str, object] | None = None,
    ) -> object:
        """Send one request and return its JSON, decoded."""
        await self._pacer.wait_turn(path)
        url = self._config.api_url.rstrip("/") + path
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                response = await self._client.request(
                    method, url, params=params, json=content
                )
        except trio.TooSlowError as exc:
            raise FeedInterrupted(f"the IBKR gateway does not answer {path}") from exc
        except httpx2.ConnectError as exc:
            raise FeedInterrupted(self._explain_unreachable(exc)) from exc
        except httpx2.HTTPError as exc:
            raise FeedInterrupted(f"the IBKR gateway broke off {path}: {exc}") from exc
        if response.status_code != 200:
            self._refuse(response, path)
        try:
            return msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            raise FeedInterrupted(
                f"the IBKR gateway's answer to {path} is no JSON"
            ) from exc

    async def _establish(self, status: AuthStatus) -> None:
        if not (status.authenticated or status.connected):
            raise FeedInterrupted(self._explain_no_login())
        status = _read_status(
            await self.request(
                "POST",
                "/iserver/auth/ssodh/init",
                content={"publish": True, "compete": False},
            )
        )
        for _ in range(_ESTABLISH_TRIES):
            if status.is_established:
                return
            if status.competing:
                break
            await trio.sleep(_ESTABLISH_SPACING_S)
            status = await self.auth_status()
        raise FeedInterrupted(
            "another program (TWS, the mobile app) uses this IBKR user's brokerage session"
            if status.competing
            else "IBKR did not open the brokerage session"
        )

    async def _read_account(self, account_id: str) -> list[Any]:
        rows: list[Any] = []
        for page in range(_PAGE_CAP):
            found = _rows(
                await self.request("GET", f"/portfolio/{account_id}/positions/{page}")
            )
            rows += found
            if len(found) < _page_size(found):
                return rows
        raise FeedInterrupted(
            f"the IBKR gateway has no last page of positions for {account_id}"
        )

    def _refuse(self, response: httpx2.Response, path: str) -> NoReturn:
        status = response.status_code
        if status == 401:
            raise FeedInterrupted(self._explain_no_login())
        if status == 429:
            raise FeedInterrupted(
                "IBKR has locked us out for ten minutes: too many requests",
                retry_after=PENALTY_S,
            )
        text = " ".join(response.text.split())[:120]
        if "Access Denied" in text:
            raise FeedInterrupted(
                "the IBKR gateway refuses this machine's address: see ips.allow in its conf.yaml"
            )
        raise FeedInterrupted(f"the IBKR gateway answered {path} with {status}: {text}")

    def _explain_no_login(self) -> str:
        return (
            f"the IBKR gateway is not logged in: open {self._login_page} in a browser"
        )

    def _explain_unreachable(self, exc: httpx2.ConnectError) -> str:
        cause: BaseException | None = exc
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return (
                    f"the certificate of {self._login_page} is not trusted"
                    " (IBKR_CA_FILE names the one to trust)"
                )
            cause = cause.__cause__ or cause.__context__
        return f"no IBKR gateway answers at {self._login_page}"


OpenSession = Callable[[IbkrConfig, Pacer], AbstractAsyncContextManager[GatewaySession]]


@asynccontextmanager
async def open_session(
    config: IbkrConfig,
    pacer: Pacer,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncIterator[GatewaySession]:
    """Open the REST half of a connection; does not send anything yet."""
    context = make_ssl_context(config.api_url, config.ca_file)
    async with httpx2.AsyncClient(
        verify=True if context is None else context,
        transport=transport,
        timeout=None,  # `request` has the deadline
        # A proxy of the environment is not for a gateway on this machine.
        trust_env=not is_loopback(urlsplit(config.api_url).hostname),
        headers={"User-Agent": "greeks-trio"},
    ) as client:
        yield GatewaySession(client, config, pacer)


async def check_login(
    config: IbkrConfig, *, open_session: OpenSession = open_session
) -> str:
    """Return one sentence about what the login gives; for a person at a terminal.

    Raises:
        FeedInterrupted: there is no gateway, no login, or no brokerage session.
    """
    async with open_session(config, Pacer()) as session:
        await session.log_in()
        accounts = await session.account_ids(config.accounts)
        holdings = await session.read_holdings(accounts, {})
    options = len(open_options(holdings.positions))
    return f"logged in, {_plural(len(accounts), 'account')}, {_plural(options, 'option position')}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _read_status(content: object) -> AuthStatus:
    try:
        return msgspec.convert(content, AuthStatus, strict=False)
    except msgspec.ValidationError:
        return AuthStatus()


def _mapping(content: object) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _rows(content: object) -> list[Any]:
    if not isinstance(content, list):
        raise FeedInterrupted(f"the IBKR gateway answered {str(content)[:120]}")
    return content


def _page_size(rows: list[Any]) -> int:
    size = _mapping(rows[0]).get("pageSize") if rows else None
    return size if isinstance(size, int) and size > 0 else _PAGE_SIZE
