"""A TLS certificate for this machine, made on the spot and trusted by nobody else."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

# Every name under which a client may reach a simulator.
NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """One end of TLS on this machine.

    Attributes:
        server: For the listener.
        authority_pem: What a client has to trust, as PEM.
    """

    server: ssl.SSLContext
    authority_pem: bytes


def issue_certificate() -> LocalCertificate:
    """Return a certificate for `NAMES` by an authority that issues nothing else."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*NAMES).configure_cert(context)
    return LocalCertificate(context, authority.cert_pem.bytes())


@contextmanager
def open_authority_file(certificate: LocalCertificate) -> Iterator[str]:
    """Yield the path of a file with what a client has to trust; removes it after."""
    with tempfile.TemporaryDirectory(prefix="greeks-simulator-") as directory:
        path = Path(directory, "ca.pem")
        path.write_bytes(certificate.authority_pem)
        yield str(path)
