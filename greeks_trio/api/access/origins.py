"""The origin of a request, read from its headers.  Pure.

A browser on this machine also runs pages of other sites, and they can send requests to
us.  A page cannot choose three headers, and these show its origin:

- ``Host``: a page can make its own name resolve to 127.0.0.1 (DNS rebinding), but the
  header then still has that name.
- ``Origin``: the page that sends a write.
- ``Sec-Fetch-Site``: the relation of the page to us, for every request; newer browsers
  only.  With it come the kind of the request (``-Mode``), its destination (``-Dest``) and
  whether a person caused it (``-User``).

Any port in ``Host`` is accepted: a page of another site cannot have a name of loopback,
and a tunnel may have another port at its near end.  ``Origin`` has to have the name and
the port of ``Host``, so a page of another port on loopback counts as another site.

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
# A browser sends these for a request of our page, or of a person.
_OURS: Final = frozenset({b"same-origin", b"none"})
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check_host(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a ``Host`` that is not a name of loopback.

    Raises:
        Problem: the name is another one, or missing.
    """
    name, _ = _split_authority(headers.get(b"host", b"").decode("latin-1"))
    if not is_loopback(name):
        raise Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "The Host header has to be localhost, 127.0.0.1 or [::1].",
        )


def check_sender(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Refuse a request from the page of another site.

    A read without these headers is accepted: no answer has CORS headers, so the page
    cannot read the answer.

    Raises:
        Problem: the page belongs to another site.
    """
    origin = headers.get(b"origin")
    is_read = method in READS
    if not is_read and origin is not None and not is_own(origin, headers):
        raise _foreign()
    site = headers.get(b"sec-fetch-site", b"none").lower()
    if site not in _OURS and not (is_read and _is_followed_link(headers)):
        raise _foreign()


def _is_followed_link(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a person followed a link to a document of its own tab.

    A page of another site can navigate a frame, or a window, as often as it likes; then
    the request does not come from a person.
    """
    return (
        headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
        and headers.get(b"sec-fetch-user") == b"?1"
    )


def is_own(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the origin has the name and the port of ``Host``."""
    scheme, _, authority = origin.decode("latin-1").partition("://")
    port = _PORTS.get(scheme)
    if port is None:
        return False
    host = headers.get(b"host", b"").decode("latin-1")
    theirs, ours = _split_authority(authority), _split_authority(host)
    is_same = (theirs[0], theirs[1] or port) == (ours[0], ours[1] or port)
    return is_same and bool(ours[0])


def is_encrypted(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the browser says that it loaded our page over TLS."""
    return headers.get(b"origin", b"").startswith(b"https://")


def _split_authority(text: str) -> tuple[str, str]:
    """Return name and port, both empty if the text is not an authority."""
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return "", ""
    address, name, port = found.groups()
    return address or name, port or ""


def _foreign() -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN, "The page of another site may not send this request."
    )
