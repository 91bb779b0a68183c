"""One request to the gateway at a time, paced, and its failures as messages.

IBKR locks out a user with too many requests, at first for ten minutes.  So requests keep
their distance across connections, and during a lock-out none is sent.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#pacing-limitations
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import ceil
from typing import Final, NoReturn
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.http_body import ACCEPTED, read_body
from greeks_trio.feeds.retry_after import parse_retry_after
from greeks_trio.feeds.tls import certificate_fault
from greeks_trio.foreign_text import clean

_GATEWAY: Final = "the IBKR gateway"
# So much of a refusal is looked at.
_SHOWN: Final = 2_000
# The gateway relays to IBKR's servers; after this time it hangs.
REQUEST_LIMIT_S: Final = 15.0
# A user may send ten requests a second, over all programs; this program takes half.
_REQUEST_SPACING_S: Final = 0.2
# IBKR allows these once in five seconds and once a second; this is a little slower.
_SPACINGS_S: Final = {
    "/portfolio/accounts": 5.1,
    "/portfolio/subaccounts": 5.1,
    "/portfolio/subaccounts2": 5.1,
    "/tickle": 1.1,
}
# The usual length of a lock-out, if the answer does not give one.
PENALTY_S: Final = 600.0


class Pacer:
    """Keeps requests apart, across connections."""

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}
        self._barred_until = 0.0

    def bar(self, penalty_s: float) -> None:
        """Forbid every request for so many seconds."""
        self._barred_until = max(self._barred_until, trio.current_time() + penalty_s)

    def barred_s(self) -> float:
        """Return for how many seconds no request may be sent; 0 if it may."""
        return max(0.0, self._barred_until - trio.current_time())

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


class GatewayClient:
    """Sends requests to the gateway; raises `FeedInterrupted` with a message for a person.

    The error has the ``http_status`` of the answer.  Its ``retry_after`` is set while IBKR
    locks this user out.
    """

    def __init__(
        self, client: httpx2.AsyncClient, config: IbkrConfig, pacer: Pacer
    ) -> None:
        self._client = client
        self._api_url = config.api_url.rstrip("/")
        self._pacer = pacer
        parts = urlsplit(config.api_url)
        self._login_page = f"{parts.scheme}://{parts.netloc}/"

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: Mapping[str, object] | None = None,
    ) -> object:
        """Send one request and return its JSON, decoded."""
        self._refuse_while_barred()
        await self._pacer.wait_turn(path)
        # Another task may have been locked out in the meantime.
        self._refuse_while_barred()
        try:
            with trio.fail_after(REQUEST_LIMIT_S):
                async with self._client.stream(
                    method,
                    self._api_url + path,
                    params=params,
                    json=content,
                    headers={"Accept-Encoding": ACCEPTED},
                ) as response:
                    body = await read_body(response, peer=_GATEWAY)
        except trio.TooSlowError as exc:
            raise FeedInterrupted(f"the IBKR gateway does not answer {path}") from exc
        except httpx2.ConnectError as exc:
            raise FeedInterrupted(self._explain_unreachable(exc)) from exc
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as exc:
            raise FeedInterrupted(
                f"the connection to the IBKR gateway broke during {path}: {exc}"
            ) from exc
        if response.status_code != 200:
            self._refuse(response, body, path)
        try:
            return _decode(body)
        except (ValueError, RecursionError) as exc:
            raise FeedInterrupted(
                f"the IBKR gateway's answer to {path} is not JSON", http_status=200
            ) from exc

    def explain_no_login(self) -> str:
        """Return the message for a gateway without a login."""
        return (
            f"the IBKR gateway is not logged in: open {self._login_page} in a browser"
        )

    def barred_s(self) -> float:
        """Return for how many more seconds IBKR locks this user out; 0 if it does not."""
        return self._pacer.barred_s()

    def _refuse_while_barred(self) -> None:
        left_s = self._pacer.barred_s()
        if left_s > 0:
            raise FeedInterrupted(
                _explain_lock_out(left_s), retry_after=left_s, http_status=429
            )

    def _refuse(self, response: httpx2.Response, body: bytes, path: str) -> NoReturn:
        status = response.status_code
        if status == 401:
            raise FeedInterrupted(self.explain_no_login(), http_status=status)
        if status == 429:
            asked_s = parse_retry_after(response.headers.get("Retry-After"))
            self._pacer.bar(PENALTY_S if asked_s is None else max(asked_s, 1.0))
            self._refuse_while_barred()
        text = clean(
            " ".join(body[:_SHOWN].decode("utf-8", "replace").split()), limit=120
        )
        words = f"the IBKR gateway answered {path} with {status}: {text}"
        if "Access Denied" in text:
            words = (
                "the IBKR gateway refuses this machine's address: see ips.allow in its"
                " conf.yaml"
            )
        elif status == 500 and text == "Internal Server Error":
            # A single "*" in that list, too, breaks every request like this.
            words += " (is ips.allow in its conf.yaml valid?)"
        raise FeedInterrupted(words, http_status=status)

    def _explain_unreachable(self, exc: httpx2.ConnectError) -> str:
        if certificate_fault(exc) is not None:
            return (
                f"the certificate of {self._login_page} is not trusted"
                " (set IBKR_CA_FILE to the file with it)"
            )
        return (
            f"no IBKR gateway answers at {self._login_page}"
            " (start it, or correct IBKR_API_URL)"
        )


def _decode(content: bytes) -> object:
    """Return the JSON, decoded.

    One odd number or letter must not hide a whole page: NaN is a number here, and an
    invalid byte becomes U+FFFD.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError):
        return json.loads(content.decode("utf-8", "replace"))


def _explain_lock_out(left_s: float) -> str:
    minutes = ceil(left_s / 60)
    return (
        f"IBKR refuses all requests for {minutes} minute{'s' * (minutes != 1)}:"
        " there were too many"
    )
