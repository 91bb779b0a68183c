"""The views of the page, each with an address that shows it."""

from __future__ import annotations

VIEWS = {
    "book": "/#/book",
    "contracts": "/#/contracts",
    "contract": "/#/contract",
    "underlying": "/#/underlying",
    "what-if": "/#/what-if",
    "why": "/#/why",
    "brokers": "/#/brokers",
    "limits": "/#/limits",
    "health": "/#/health",
}
