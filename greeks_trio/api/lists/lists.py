"""Lists as pages of JSON, or whole as CSV or NDJSON: the same for every subject."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from fastapi import Request, Response

from greeks_trio.api.answers import JSON, Problem, described
from greeks_trio.api.lists.cursor import decode_cursor, encode_cursor
from greeks_trio.api.lists.exports import MEDIA_TYPES, ExportAnswer, Lines
from greeks_trio.api.lists.params import DEFAULT_LIMIT, ListParams
from greeks_trio.api.lists.schemas import Schema, list_schema
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.postgres.reads.questions import ExportFormat, Page, Place, Question

_ABOUT: Final[dict[ExportFormat, str]] = {
    "csv": "A line with the names of the columns, then one line for each row.  What "
    "people have written of a trade (account, symbol, contract, action, tag) has an "
    "apostrophe in front where a spreadsheet would take it for a formula: where it begins "
    "with =, +, -, @ or a control character.  JSON and NDJSON have it as it was written.",
    "ndjson": "One JSON object on each line, as in `items`.",
}


class ListReads(Protocol):
    """The timeline, for reading; all of it may raise `StoreError`."""

    async def page(
        self,
        question: Question,
        after: Place | None,
        limit: int,
        *,
        has_payload: bool = False,
    ) -> Page:
        """Return at most so many rows after a place; `ValueError` if it is none."""

    def export(
        self,
        question: Question,
        form: ExportFormat,
        limit: int | None = None,
        *,
        has_payload: bool = False,
    ) -> AbstractAsyncContextManager[tuple[bytes, Lines]]:
        """Yield what stands before the lines, and the lines."""


async def answer_list(
    reads: ListReads,
    request: Request,
    params: ListParams,
    question: Question,
    *,
    name: str,
    has_payload: bool = False,
) -> Response:
    """Return a page, or an export under this name.

    Raises:
        Problem: the cursor is not valid here, or PostgreSQL has trouble.
    """
    form = params.format or _accepted(request.headers.get("accept", ""))
    if form == "json":
        return await _page(reads, params, question, has_payload=has_payload)
    if params.cursor is not None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A cursor is for pages of JSON; an export has the whole list.",
        )
    open_export = partial(
        reads.export, question, form, params.limit, has_payload=has_payload
    )
    return ExportAnswer(open_export, form, name)


async def _page(
    reads: ListReads, params: ListParams, question: Question, *, has_payload: bool
) -> Response:
    place = decode_cursor(question, params.cursor)
    limit = DEFAULT_LIMIT if params.limit is None else params.limit
    try:
        with store_problems():
            page = await reads.page(question, place, limit, has_payload=has_payload)
    except ValueError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not valid here."
        ) from None
    cursor = msgspec.json.encode(encode_cursor(question, page.next_place))
    body = b'{"items":%b,"next_cursor":%b}' % (page.items, cursor)
    return Response(body, media_type=JSON)


def _accepted(accept: str) -> ExportFormat | Any:  # noqa: ANN401
    """Return the first format in the header that we have, else JSON."""
    forms = {media_type: form for form, media_type in MEDIA_TYPES.items()}
    for each in accept.split(","):
        media_type = each.partition(";")[0].strip().lower()
        if media_type in forms:
            return forms[media_type]
        if media_type == JSON:
            break
    return "json"


def described_list(row: Schema) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of a list's answers."""
    answers = described(list_schema(row), *STORE_PROBLEMS)
    answers[int(HTTPStatus.OK)]["content"] |= {
        MEDIA_TYPES[form]: {
            "schema": {"type": "string", "description": description},
            "example": _example(form, row["examples"][0]),
        }
        for form, description in _ABOUT.items()
    }
    return answers


def _example(form: ExportFormat, row: Mapping[str, Any]) -> str:
    if form == "ndjson":
        return f"{msgspec.json.encode(row).decode()}\n"
    # The first columns will do.
    some = {name: str(value) for name, value in row.items() if value is not None}
    return f"{','.join(list(some)[:5])}\n{','.join(list(some.values())[:5])}\n"
