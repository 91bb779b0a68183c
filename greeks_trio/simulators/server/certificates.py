"""A TLS certificate for this machine, made once; other machines do not trust it.

It stays in the user's cache directory, as the real gateway's certificate stays in its
installation.  A client that trusts it needs no change after a restart.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

# Every name under which a client may reach a simulator.
NAMES: Final = ("localhost", "127.0.0.1", "::1")

_CACHE: Final = Path("~/.cache/greeks_trio")

_AUTHORITY: Final = "ca.pem"
_SERVER: Final = "server.pem"


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """The server's TLS context, and the file with which clients check it.

    Attributes:
        server: For the listener.
        authority_file: The certificate authority that clients must trust, as PEM.
    """

    server: ssl.SSLContext
    authority_file: Path


@contextmanager
def open_certificate(cache: Path | None = None) -> Iterator[LocalCertificate]:
    """Yield the certificate for `NAMES`; make it if the cache has none.

    If the cache cannot be written, or this user has no home directory for it, the
    certificate exists only within the block.
    """
    try:
        directory = (cache or _CACHE.expanduser()) / "simulated-gateway"
        certificate = _load(directory) or _make(directory)
    except (OSError, RuntimeError):
        with tempfile.TemporaryDirectory(prefix="greeks-simulator-") as temporary:
            yield _make(Path(temporary, "certificate"))
        return
    yield certificate


def _load(directory: Path) -> LocalCertificate | None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Without the system's authorities, which take 20 ms to load.
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority = directory / _AUTHORITY
    try:
        server.load_cert_chain(directory / _SERVER)
        client.load_verify_locations(authority)
    except OSError:  # not there, or damaged: an SSLError is an OSError
        return None
    return LocalCertificate(server, authority)


def _make(directory: Path) -> LocalCertificate:
    """Make it under another name first, so that no process loads an unfinished one."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert(*NAMES)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        fresh = Path(temporary, "fresh")
        fresh.mkdir(mode=0o700)
        authority.cert_pem.write_to_path(fresh / _AUTHORITY)
        issued.private_key_and_cert_chain_pem.write_to_path(fresh / _SERVER)
        if _load(directory) is None and directory.exists():
            directory.rename(Path(temporary, "damaged"))
        with suppress(OSError):  # another start was quicker
            fresh.rename(directory)
    made = _load(directory)
    if made is None:
        raise OSError(f"{directory} cannot be used")
    return made
