"""The pictures of the page in the documents: ``bin/docs screenshots`` keeps them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.reading import figure, wait_state
from tests.browser.views import PHONE, VIEWS


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light"}),
        ("dark", {"color_scheme": "dark"}),
        ("phone", {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True}),
    ],
)
def test_the_book(open_page, demo, take, name, options):
    page = open_page(demo, VIEWS["book"], **options)
    wait_state(page)
    expect(figure(page, "dollar_delta").nth(2)).to_be_visible()

    take(page, name)
