"""The answers of a list in the OpenAPI description."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greeks_trio.api.answers import described
from greeks_trio.api.lists.columns import Schema, row_schema
from greeks_trio.api.lists.exports import MEDIA_TYPES
from greeks_trio.api.lists.parameters import MAX_LIMIT
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.api.store_problems import STORE_PROBLEMS
from greeks_trio.postgres.reads.listing import ExportFormat

_ABOUT: Final[dict[ExportFormat, str]] = {
    "csv": "A line with the names of the columns, then one line for each row.  A text has "
    "an apostrophe in front where a spreadsheet would take it for a formula: where it "
    "begins with =, +, -, @ or a control character.  JSON and NDJSON have it as it is.",
    "ndjson": "One JSON object on each line, as in `items`.",
}
# The example of a CSV file has the first of the columns.
_EXAMPLE_COLUMNS: Final = 5


def described_list(
    resource: ListResource, brokers: Sequence[str]
) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a list and the problems that come instead."""
    row = row_schema(resource.columns, brokers, optional=list(resource.extras.values()))
    answers = described(_page_schema(row), *STORE_PROBLEMS)
    answers[int(HTTPStatus.OK)]["content"] |= {
        MEDIA_TYPES[form]: {
            "schema": {"type": "string", "description": about},
            "example": _example(resource, form),
        }
        for form, about in _ABOUT.items()
    }
    return answers


def _page_schema(row: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "maxItems": MAX_LIMIT, "items": row},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "For the next page; null when this is the last one.",
            },
        },
        "required": ["items", "next_cursor"],
        "examples": [{"items": row["examples"], "next_cursor": "WzEsIjVmMWMiLFtdXQ"}],
    }


def _example(resource: ListResource, form: ExportFormat) -> str:
    if form == "ndjson":
        row = {each.name: each.example for each in resource.columns}
        return f"{msgspec.json.encode(row).decode()}\n"
    some = resource.columns[:_EXAMPLE_COLUMNS]
    values = [
        str(each.example) if each.kind in ("plain", "time") else f'"{each.example}"'
        for each in some
    ]
    return f"{','.join(each.name for each in some)}\n{','.join(values)}\n"
