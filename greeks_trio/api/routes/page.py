"""The page and the API documentation: ``/``, ``/docs`` and their files below ``/page/``.

They are no part of the API, so the OpenAPI description does not name them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from greeks_trio.api.access.open_paths import PAGES
from greeks_trio.api.answers import Problem
from greeks_trio.api.page_files import PageFile, PageFiles

# Everything comes from this service, and nothing stands inside of the HTML.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    # A browser keeps a file and asks each time whether it has changed.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Vary": "Accept-Encoding",
}


def make_router(files: PageFiles) -> APIRouter:
    """Return ``/``, ``/docs`` and ``/page/...``."""
    router = APIRouter(include_in_schema=False)
    for path, name in PAGES.items():
        router.get(path)(_answer_with(files, name))

    @router.get("/page/{name:path}")
    async def page_file(name: str, request: Request) -> Response:
        """Return a file of the page."""
        return await _answer(files, name, request)

    return router


def _answer_with(
    files: PageFiles, name: str
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def page(request: Request) -> Response:
        """Return a page."""
        return await _answer(files, name, request)

    return page


async def _answer(files: PageFiles, name: str, request: Request) -> Response:
    file = await files.find(name)
    if file is None:
        raise Problem(HTTPStatus.NOT_FOUND, "The page has no such file.")
    headers = _HEADERS | {"ETag": file.tag}
    if _has_it(request, file):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content = file.content
    if file.compressed is not None and _takes_gzip(request):
        content = file.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


def _has_it(request: Request, file: PageFile) -> bool:
    tags = [
        each.strip() for each in request.headers.get("if-none-match", "").split(",")
    ]
    opaque = file.tag.removeprefix("W/")
    return "*" in tags or opaque in [each.removeprefix("W/") for each in tags]


def _takes_gzip(request: Request) -> bool:
    """Return whether the client names gzip and gives it a weight above zero."""
    for each in request.headers.get("accept-encoding", "").split(","):
        coding, _, parameter = each.strip().partition(";")
        if coding.strip().lower() == "gzip":
            name, _, weight = parameter.strip().partition("=")
            return name.lower() != "q" or weight.strip("0.") != ""
    return False
