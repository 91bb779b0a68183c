"""From where a request comes, as far as its headers tell.  Pure.

A browser on this machine runs pages of strangers, and lets them send requests here.
Three headers that a page cannot choose give it away:

- ``Host``: a page may make its own name resolve to 127.0.0.1 (DNS rebinding).  The name
  stays.
- ``Origin``: whose page sends a write.
- ``Sec-Fetch-Site``: whose page sends anything; newer browsers only.

Any port in ``Host`` is fine.  A stranger's page cannot have a name of loopback, whatever
its port, and a tunnel has another port at its near end.  ``Origin`` has to agree with
``Host`` in both, so another port's page on loopback is a stranger.

Sources: https://en.wikipedia.org/wiki/DNS_rebinding, RFC 6454,
https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from greeks_trio.api.answers import Problem
from greeks_trio.config.addresses import is_loopback

_AUTHORITY: Final = re.compile(
    r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::([0-9]*))?", re.ASCII
)
_PORTS: Final = {"http": "80", "https": "443"}
# What a browser says when it is our page that asks, or a person.
_OURS: Final = frozenset({b"same-origin", b"none"})
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check_host(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a ``Host`` that is not a name of loopback.

    Raises:
        Problem: it is another, or none.
    """
    name, _ = _split_authority(headers.get(b"host", b"").decode("latin-1"))
    if not is_loopback(name):
        raise Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The Host header has to be localhost, 127.0.0.1 or [::1].",
        )


def check_sender(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Refuse what the page of somebody else sends.

    A read may come from anywhere when the browser does not say: its answer stays hidden
    from the page, because no answer has CORS headers.

    Raises:
        Problem: it is another's page.
    """
    origin = headers.get(b"origin")
    is_read = method in READS
    if not is_read and origin is not None and not is_own(origin, headers):
        raise _foreign()
    site = headers.get(b"sec-fetch-site", b"none").lower()
    # A link from another page, opened by a person, is no request of that page.
    is_link = is_read and headers.get(b"sec-fetch-mode") == b"navigate"
    if site not in _OURS and not is_link:
        raise _foreign()


def is_own(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the origin is the host that was asked, at the same port."""
    scheme, _, authority = origin.decode("latin-1").partition("://")
    port = _PORTS.get(scheme)
    if port is None:
        return False
    host = headers.get(b"host", b"").decode("latin-1")
    theirs, ours = _split_authority(authority), _split_authority(host)
    is_same = (theirs[0], theirs[1] or port) == (ours[0], ours[1] or port)
    return is_same and bool(ours[0])


def is_encrypted(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser says that its page, which is ours, came by TLS."""
    return headers.get(b"origin", b"").startswith(b"https://")


def _split_authority(text: str) -> tuple[str, str]:
    """Return name and port, both empty when it is neither."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return "", ""
    address, name, port = found.groups()
    return address or name, port or ""


def _foreign() -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN, "Another site's page may not send this request."
    )
