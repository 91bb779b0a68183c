"""The HTTP transport under the SDK: the address of requests, the meaning of refusals.

The SDK knows two addresses and turns every refusal into one error without its status.
A transport is its public way to change both.
"""

from __future__ import annotations

from typing import Final

import httpx2
import msgspec

from greeks_trio.errors import BrokerError, CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.http_body import ACCEPTED, read_body
from greeks_trio.feeds.retry_after import parse_retry_after
from greeks_trio.feeds.tls import certificate_fault
from greeks_trio.foreign_text import clean, is_header_token, register_secret

LOGIN_PATH: Final = "/oauth/token"
# OAuth's words for a wrong secret or a revoked refresh token (RFC 6749, 5.2).  Every
# other refusal passes: for some minutes, Tastytrade can answer a good grant with
# ``invalid_request`` and "User is not a TastyTrade customer".
_FINAL_CODES: Final = frozenset(
    ("invalid_grant", "invalid_client", "unauthorized_client")
)
_FINAL_STATUSES: Final = (400, 401, 403)
_LONGEST_REASON: Final = 200
# These headers describe the body as it was sent.
_OF_THE_WIRE: Final = frozenset(
    (b"content-encoding", b"content-length", b"transfer-encoding")
)


class ApiTransport(httpx2.AsyncBaseTransport):
    """Sends every request to ``api_url`` and raises our errors for its refusals."""

    def __init__(self, api_url: str, inner: httpx2.AsyncBaseTransport) -> None:
        self._base = httpx2.URL(api_url)
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the whole answer.

        Raises:
            FeedInterrupted: there is none, or it is a refusal that may pass.
            CredentialsRejected: the login was refused.
        """
        login = request.url.path == LOGIN_PATH
        self._redirect(request)
        try:
            answer = await self._inner.handle_async_request(request)
            try:
                body = await read_body(answer, peer="Tastytrade")
            finally:
                await answer.aclose()
        except httpx2.RequestError as exc:
            raise FeedInterrupted(
                f"Tastytrade cannot be reached: {_explain(exc)}"
            ) from exc
        response = _unpacked(answer, body, request)
        if not response.is_success:
            raise _refusal(response, login=login)
        if login:
            _check_token(response)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def _redirect(self, request: httpx2.Request) -> None:
        request.url = request.url.copy_with(
            scheme=self._base.scheme,
            host=self._base.host,
            port=self._base.port,
            raw_path=self._base.raw_path.rstrip(b"/") + request.url.raw_path,
        )
        request.headers["Accept-Encoding"] = ACCEPTED
        request.headers["Host"] = request.url.netloc.decode("ascii")


def _explain(exc: httpx2.RequestError) -> str:
    fault = certificate_fault(exc)
    if fault is not None:
        return f"its certificate is not trusted: {fault}"
    return str(exc) or type(exc).__name__


def _unpacked(
    answer: httpx2.Response, body: bytes, request: httpx2.Request
) -> httpx2.Response:
    """Return the answer with its unpacked body."""
    kept = [
        (name, value)
        for name, value in answer.headers.raw
        if name.lower() not in _OF_THE_WIRE
    ]
    return httpx2.Response(
        answer.status_code,
        headers=kept,
        content=body,
        request=request,
        extensions=answer.extensions,
    )


def _check_token(response: httpx2.Response) -> None:
    """Keep the access token out of all output, and refuse one that no header can hold.

    Raises:
        FeedInterrupted: The token is no text, or has a space, a control character or
            another letter.
    """
    body = _body(response)
    if "access_token" not in body:
        return  # the SDK finds it
    token = body["access_token"]
    if not isinstance(token, str):
        raise FeedInterrupted("Tastytrade's answer to the login has no access token")
    register_secret(token)
    if not is_header_token(token):
        raise FeedInterrupted(
            "Tastytrade's access token has characters that no request can carry"
        )


def _refusal(response: httpx2.Response, *, login: bool) -> BrokerError:
    status, body = response.status_code, _body(response)
    codes = _codes(body)
    words = _reason(body) or response.reason_phrase or "no reason given"
    reason = " ".join([words, *(f"({code})" for code in codes if code not in words)])
    reason = clean(reason, limit=_LONGEST_REASON)
    if login and status in _FINAL_STATUSES and codes and _FINAL_CODES.issuperset(codes):
        return CredentialsRejected(
            f"Tastytrade refused TT_SECRET or TT_REFRESH: {reason}"
        )
    what = " to the login" if login else ""
    return FeedInterrupted(
        f"Tastytrade answered{what} {status}: {reason}",
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
        http_status=status,
    )


def _codes(body: dict[str, object]) -> list[str]:
    """Return the codes of the error, each once: OAuth's and those of the API."""
    found = [body.get("error"), body.get("error_code"), body.get("code")]
    match body.get("error"):
        case {"code": code}:
            found.append(code)
        case {"error": code} | {"error_code": code}:
            found.append(code)
    codes = (each.strip().lower() for each in found if isinstance(each, str))
    return [each for each in dict.fromkeys(codes) if each]


def _body(response: httpx2.Response) -> dict[str, object]:
    try:
        return msgspec.json.decode(response.content, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}


def _reason(body: dict[str, object]) -> str | None:
    """Return why in the server's words, if it has any."""
    match body:
        case {"error": {"message": str(reason)}}:  # the API's form
            return reason
        case {"error": {"code": str(reason)}}:
            return reason
        case {"error_description": str(reason)}:  # the login's
            return reason
        case {"error": str(reason)} | {"error_code": str(reason)}:
            return reason
    return None
