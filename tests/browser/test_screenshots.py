"""The pictures of the page in the documents: ``bin/docs screenshots`` keeps them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.reading import figure, view, wait_state
from tests.browser.views import PHONE, VIEWS

KNOWN = re.compile(r"\d")
ALL_ARE_WHOLE = """
select bool_and(theta is not null and vega is not null)
from latest_greeks where quantity is not null
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light"}),
        ("dark", {"color_scheme": "dark"}),
        ("phone", {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True}),
    ],
)
def test_the_book(open_page, demo, take, name, options):
    demo.wait_until(ALL_ARE_WHOLE)
    page = open_page(demo, VIEWS["book"], **options)
    wait_state(page)
    # Of the whole book, and of its parts.
    for column, place in (("theta", 0), ("theta", 2), ("profit_loss", 0)):
        field = figure(page, column).nth(place)
        expect(field).to_have_attribute("data-value", KNOWN)

    take(page, name)


def test_what_if(open_page, demo, take):
    page = open_page(demo, f"{VIEWS['what-if']}?move=-6&vol=5")
    wait_state(page)
    part = view(page, "what-if")
    expect(part.get_by_role("gridcell")).not_to_have_count(0)
    expect(figure(part.locator(".profit"), "profit_loss")).not_to_have_attribute(
        "data-value", ""
    )

    take(page, "what-if")
