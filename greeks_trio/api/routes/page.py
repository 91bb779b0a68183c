"""The page and the API documentation: ``/``, ``/docs`` and their files below ``/page/``.

They are no part of the API, so the OpenAPI description does not name them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from greeks_trio.api.access.open_paths import PAGES
from greeks_trio.api.answers import Problem
from greeks_trio.api.fixed_content import answer_content
from greeks_trio.api.page_files import PageFiles

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
_HEADERS: Final = {"Content-Security-Policy": POLICY}


def make_router(files: PageFiles, pages: Mapping[str, str] = PAGES) -> APIRouter:
    """Return ``/``, ``/docs`` and ``/page/...``.

    Args:
        files: The files of the page.
        pages: The file at each address.
    """
    router = APIRouter(include_in_schema=False)
    for path, name in pages.items():
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
    return answer_content(file, request, _HEADERS)
