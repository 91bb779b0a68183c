"""What a page shows.

A figure has its column in ``data-field``, and the number in ``data-value`` as the HTTP
interface gave it.  A row of a table has ``data-key``.  The page says in the attribute
``data-state`` of its root whether it is live.
"""

from __future__ import annotations

import time

from playwright.sync_api import expect

from tests.browser.visitors import PATIENCE_MS

_FIGURES = """
elements => elements.map(each => [each.dataset.field, each.dataset.value ?? null])
"""
_ROWS = """
rows => rows.map(row => [row.dataset.key, Object.fromEntries(
    [...row.querySelectorAll('[data-field]')].map(
        each => [each.dataset.field, each.dataset.value ?? null]))])
"""


def wait_state(page, state="live"):
    """Wait until the page says that it is in the state."""
    expect(page.locator("html")).to_have_attribute("data-state", state)


def view(page, name):
    """Return the part of the page that shows a view."""
    return page.locator(f"main[data-view='{name}']")


def figure(part, field):
    """Return the figures of a column, in a page or a part of one."""
    return part.locator(f"[data-field='{field}']")


def read_figures(part):
    """Return the figures outside of tables by column; each column is there once."""
    found = part.locator("[data-field]:not([data-key] [data-field])").evaluate_all(
        _FIGURES
    )
    figures = {name: number(value) for name, value in found}
    assert len(figures) == len(found), f"a column comes twice: {found}"
    return figures


def read_rows(part):
    """Return the rows by their keys, each as its figures by column."""
    found = part.locator("[data-key]").evaluate_all(_ROWS)
    rows = {
        key: {name: number(value) for name, value in row.items()} for key, row in found
    }
    assert len(rows) == len(found), "a key comes twice"
    return rows


def keys(part):
    """Return the keys of the rows in their order."""
    return part.locator("[data-key]").evaluate_all(
        "rows => rows.map(r => r.dataset.key)"
    )


def number(text):
    """Return the number of a figure; a text where it is no number."""
    try:
        return None if text in (None, "") else float(text)
    except ValueError:
        return text


def wait_change(figure):
    """Wait until a figure has another number than now."""
    before = figure.first.get_attribute("data-value")
    expect(figure.first).not_to_have_attribute("data-value", before or "")


def settled(page, read, expected):
    """Return what ``read`` gives: as soon as it is the expected, or when patience ends."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (found := read()) != expected and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    return found
