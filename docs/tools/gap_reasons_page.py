"""The page of the gap reasons, from their declaration."""

from __future__ import annotations

from typing import Final

from docs.tools.markdown import code, page, table
from greeks_trio.model.gap_reasons import GapReason

_ABOUT: Final = """\
The table `feed_gaps` holds every interval without data that the service knows about. With it
you can tell an outage from a quiet market. `contract_key` is null when the reason concerns a
whole feed, and `ended_at` is null while the gap lasts. [The cookbook](sql-cookbook.md) has a
query, and `GET /v1/gaps` gives the same rows over [HTTP](http.md). The view `outages` and
`GET /v1/outages` merge rows that overlap.
"""


def gap_reasons_page() -> str:
    """Return ``docs/gap-reasons.md``."""
    reasons = table(
        ("reason", "meaning"),
        ((code(reason.value), reason.explanation) for reason in GapReason),
    )
    source = "greeks_trio/model/gap_reasons.py"
    return page("Gap reasons", source, _ABOUT, reasons)
