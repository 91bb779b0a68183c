"""The views of the page, each with an address that shows it, and the sizes of screens."""

from __future__ import annotations

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

VIEWS = {
    "book": "/#/book",
    "contracts": "/#/contracts",
    "contract": "/#/contract",
    "underlying": "/#/underlying",
    "what-if": "/#/what-if?move=-6&vol=5",
    "why": "/#/why?range=10min",
    "brokers": "/#/brokers",
    "limits": "/#/limits",
    "health": "/#/health",
}
