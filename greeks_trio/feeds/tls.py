"""The verification of a peer's TLS certificate.

A gateway on this machine shows a self-signed certificate.  A file with that
certificate pins it; without a file, TLS to loopback is encrypted but not verified.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from greeks_trio.config.addresses import is_loopback
from greeks_trio.errors import FeedInterrupted

_LONGEST_RECORD: Final = 2**14


def read_more(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    """Return the bytes that the stream has received and not returned yet.

    Trio returns one record for each call, and a broker puts each message into a record of
    its own.  Uses one private name, ``_ssl_object``.
    """
    parts = [b""]
    try:
        while part := stream._ssl_object.read(_LONGEST_RECORD):
            parts.append(part)
    except ssl.SSLError:
        # No further record is complete, or the connection is broken: the next call of
        # the stream meets the same error again.
        pass
    return b"".join(parts)


def certificate_fault(exc: BaseException) -> str | None:
    """Return why the peer's certificate was refused; `None` for an error of another kind.

    The cause lies deep below the errors of the HTTP library.
    """
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return None


def make_ssl_context(
    url: str, ca_file: Path | None, *, setting: str
) -> ssl.SSLContext | None:
    """Return the verification for the peer of this URL; `None` without TLS.

    ``setting`` is the variable that names ``ca_file``, for the message.

    Raises:
        FeedInterrupted: The file with certificates cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "wss"):
        return None
    loopback = is_loopback(parts.hostname)
    if ca_file is None and loopback:
        # Made without the system's authorities, which take 50 ms to load.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca_file is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
    except OSError as exc:  # ssl.SSLError is one
        raise FeedInterrupted(
            f"cannot use the certificates in {ca_file} ({setting}): {exc}"
        ) from exc
    # A certificate that is pinned itself is no authority, and a gateway's own names
    # no host; Python 3.13 refuses the first by default.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = not loopback
    return context
