"""Text from elsewhere in the tables of the commands."""

from __future__ import annotations

from rich.text import Text

from greeks_trio.foreign_text import clean


def plain(text: str) -> Text:
    """Return the text for a cell: never markup, and without control characters."""
    return Text(clean(text))
