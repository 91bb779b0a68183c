"""Let a server's errors inside a COPY look as those of Citus do.

Citus reports each error of a shard inside a COPY as XX000, with the message and the detail
of the shard and nothing else.  `CopyErrors` reads the bytes from a server to one client and
rewrites these errors.  The connection must not be encrypted.

Sources: PostgreSQL documentation, "Message Formats"; Citus, ``ReportCopyError`` in
``multi_copy.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_HEADER: Final = struct.Struct("!cI")
# The answers to a request for encryption: one byte without a length.
_ENCRYPTION: Final = (b"N", b"S")
_COPY_IN: Final = b"G"
_ERROR: Final = b"E"
_READY: Final = b"Z"
# Severity, also untranslated; message, detail.
_KEPT: Final = frozenset(b"SVMD")
_CITUS: Final = b"CXX000\0Fmulti_copy.c\0L0\0RReportCopyError\0"


class CopyErrors:
    """The bytes of one connection; `rewrite` takes them as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_in_copy = False
        self._has_begun = False

    def rewrite(self, data: bytes) -> bytes:
        """Return the bytes for the client; the rest of a message comes with its end."""
        self._rest += data
        return b"".join(self._messages())

    def _messages(self) -> Iterator[bytes]:
        if not self._has_begun and self._rest[:1] in _ENCRYPTION:
            yield self._take(1)
        while len(self._rest) >= _HEADER.size:
            self._has_begun = True
            kind, length = _HEADER.unpack_from(self._rest)
            if len(self._rest) < 1 + length:
                return
            yield self._seen(kind, self._take(1 + length))

    def _take(self, number: int) -> bytes:
        taken, self._rest = self._rest[:number], self._rest[number:]
        return taken

    def _seen(self, kind: bytes, message: bytes) -> bytes:
        if kind == _COPY_IN:
            self._is_in_copy = True
        elif kind == _READY:
            self._is_in_copy = False
        elif kind == _ERROR and self._is_in_copy:
            return _as_citus(message[_HEADER.size :])
        return message


def _as_citus(body: bytes) -> bytes:
    fields = [field for field in body.split(b"\0") if field and field[0] in _KEPT]
    body = b"".join(field + b"\0" for field in fields) + _CITUS + b"\0"
    return _HEADER.pack(_ERROR, 4 + len(body)) + body
