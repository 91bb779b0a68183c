"""Reading the body of an answer up to a limit, which counts after unpacking.

The client of the library unpacks a body of any size: a megabyte of gzip can become a
gigabyte in memory.
"""

from __future__ import annotations

import zlib
from typing import Final

import httpx2

from greeks_trio.errors import FeedInterrupted

# The value of the header Accept-Encoding.
ACCEPTED: Final = "gzip"
# The longest answers are 3 MB, with every option on the futures of one product.
MAX_BODY_BYTES: Final = 8 * 2**20
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_PLAIN: Final = frozenset(("", "identity"))
_PACKED: Final = frozenset(("gzip", "x-gzip", "deflate"))


async def read_body(
    response: httpx2.Response, *, peer: str, max_bytes: int = MAX_BODY_BYTES
) -> bytes:
    """Return the body, unpacked.  The caller sets the deadline.

    Args:
        response: An answer whose body has not been read.
        peer: The name of the server in messages.
        max_bytes: A longer body is refused.

    Raises:
        FeedInterrupted: The body is too long or cannot be unpacked.
        httpx2.RequestError: The connection broke.
    """
    body = _Body(response.headers.get("Content-Encoding", ""), max_bytes)
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)  # noqa: S101 - of an async client
    try:
        async for chunk in stream:
            body.take(chunk)
            if body.fault is not None:
                # The loop goes on to its end, which is near: the library's generators
                # complain when they are left in the middle.
                await response.aclose()
    except httpx2.RequestError:
        if body.fault is None:
            raise
    if body.fault is not None:
        raise FeedInterrupted(f"{peer} sent an answer {body.fault}")
    return bytes(body.content)


class _Body:
    """The part of a body that has been read.

    Attributes:
        content: The content, unpacked.
        fault: The reason to refuse the body, as the end of a sentence.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        encoding = encoding.strip().lower()
        self.content = bytearray()
        self.fault: str | None = None
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._received = 0
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        if encoding not in _PLAIN | _PACKED:
            self.fault = f"that is packed as {encoding!r}"

    def take(self, chunk: bytes) -> None:
        """Unpack a chunk, up to the limit."""
        if self.fault is not None:
            return
        self._received += len(chunk)
        room = self._max_bytes - len(self.content) + 1
        try:
            self.content += (
                self._unpacker.decompress(chunk, room)
                if self._encoding in _PACKED
                else chunk
            )
        except zlib.error:
            self.fault = f"that is no {self._encoding}"
        if max(len(self.content), self._received) > self._max_bytes:
            self.fault = f"of more than {self._max_bytes / 2**20:g} MiB"
            self.content.clear()
