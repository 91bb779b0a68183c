"""A request for a list, answered with a page of JSON or with an export."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Literal

import msgspec
from fastapi import Request, Response

from greeks_trio.api.answers import Problem
from greeks_trio.api.lists.cursor import decode_cursor, encode_cursor
from greeks_trio.api.lists.exports import MEDIA_TYPES, ExportAnswer
from greeks_trio.api.lists.parameters import DEFAULT_LIMIT, ListParams
from greeks_trio.api.lists.resource import ListFilter, ListResource
from greeks_trio.api.media_types import JSON
from greeks_trio.api.store_problems import store_problems
from greeks_trio.postgres.reads.listing import ExportFormat, Listing
from greeks_trio.postgres.reads.timeline import Timeline


async def answer_list(
    timeline: Timeline, request: Request, resource: ListResource, params: ListParams
) -> Response:
    """Return a page or an export.

    Raises:
        Problem: the cursor is not valid here, or PostgreSQL gives no answer.
    """
    wanted = resource.wanted_by(params)
    listing = resource.listing(
        wanted,
        include=getattr(params, "include", None),
        stale_after_s=timeline.stale_after_s,
    )
    form = params.format or _accepted(request.headers.get("accept", ""))
    if form == "json":
        return await _page(timeline, listing, wanted, params)
    if params.cursor is not None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "`cursor` is for pages of JSON.  An export has the whole list: leave "
            "`cursor` out.",
        )
    open_export = partial(timeline.export, listing, form, params.limit)
    return ExportAnswer(
        open_export, form, resource.file_name, limit_s=timeline.export_timeout_s
    )


async def _page(
    timeline: Timeline, listing: Listing, wanted: ListFilter, params: ListParams
) -> Response:
    position = decode_cursor(wanted, params.cursor)
    limit = DEFAULT_LIMIT if params.limit is None else params.limit
    try:
        with store_problems():
            page = await timeline.page(listing, position, limit)
    except ValueError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "`cursor` is not valid for this list.  Begin without it.",
        ) from None
    cursor = msgspec.json.encode(encode_cursor(wanted, page.position))
    body = b'{"items":%b,"next_cursor":%b}' % (page.items, cursor)
    return Response(body, media_type=JSON)


def _accepted(accept: str) -> ExportFormat | Literal["json"]:
    """Return the first format in the header that we have, else JSON."""
    forms = {media_type: form for form, media_type in MEDIA_TYPES.items()}
    for each in accept.split(","):
        media_type = each.partition(";")[0].strip().lower()
        if media_type in forms:
            return forms[media_type]
        if media_type == JSON:
            break
    return "json"
