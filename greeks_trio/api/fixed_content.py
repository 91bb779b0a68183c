"""Answers whose content is the same for everybody: compressed once, and with an ETag.

Only these are compressed.  In an answer with secrets and with text of the request, the length
after compression would tell of the secrets (BREACH).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response

# A font is compressed already, and a little less is not worth the work of unpacking it.
_WORTH_IT: Final = 0.9
_HEADERS: Final = {
    # A browser keeps the content and asks each time whether it has changed.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class FixedContent:
    """A content with its type.

    Attributes:
        compressed: The content with gzip; `None` if that is not much smaller.
        tag: The ETag.
    """

    content: bytes
    compressed: bytes | None
    media_type: str
    tag: str


def make_content(content: bytes, media_type: str) -> FixedContent:
    """Compress a content."""
    compressed = gzip.compress(content, mtime=0)
    is_smaller = len(compressed) < len(content) * _WORTH_IT
    return FixedContent(
        content=content,
        compressed=compressed if is_smaller else None,
        media_type=media_type,
        # Weak, because the compressed and the plain answer share it.
        tag=f'W/"{hashlib.sha256(content).hexdigest()[:32]}"',
    )


def answer_content(
    found: FixedContent, request: Request, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a request; a client that has the content does not get it again."""
    answered = {**_HEADERS, **(headers or {}), "ETag": found.tag}
    if _has_it(request, found.tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=answered)
    content = found.content
    if found.compressed is not None and _takes_gzip(request):
        content = found.compressed
        answered["Content-Encoding"] = "gzip"
    return Response(content, headers=answered, media_type=found.media_type)


def _has_it(request: Request, tag: str) -> bool:
    tags = [
        each.strip() for each in request.headers.get("if-none-match", "").split(",")
    ]
    opaque = tag.removeprefix("W/")
    return "*" in tags or opaque in [each.removeprefix("W/") for each in tags]


def _takes_gzip(request: Request) -> bool:
    """Return whether the client names gzip and gives it a weight above zero."""
    for each in request.headers.get("accept-encoding", "").split(","):
        coding, _, parameter = each.strip().partition(";")
        if coding.strip().lower() == "gzip":
            name, _, weight = parameter.strip().partition("=")
            return name.lower() != "q" or weight.strip("0.") != ""
    return False
