"""The views of the page, each with an address that shows it on the demo."""

from __future__ import annotations

VIEWS = {
    "book": "/",
}
