"""What holds for every view."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible, assert_keyboard_reaches_all
from tests.browser.reading import view, wait_state
from tests.browser.views import PHONE, VIEWS, address


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_accessible_and_needs_no_mouse(page, demo, name):
    page.goto(address(demo, name))
    wait_state(page)
    expect(view(page, name).get_by_role("heading", level=1)).to_be_visible()

    assert_accessible(page)
    assert_keyboard_reaches_all(page)


@pytest.fixture
def phone(page):
    page.set_viewport_size(PHONE)
    return page


@pytest.mark.parametrize("name", VIEWS)
def test_a_phone_shows_a_view_without_scrolling_sideways(phone, demo, name):
    phone.goto(address(demo, name))
    expect(view(phone, name).get_by_role("heading", level=1)).to_be_visible()

    # The page follows the new size in its next frame.
    phone.wait_for_function(
        "most => document.documentElement.scrollWidth <= most", arg=PHONE["width"]
    )


def test_the_navigation_leads_to_every_view(page):
    links = page.get_by_role("navigation", name="Views").get_by_role("link")
    seen = set()
    for link in links.all():
        if (link.get_attribute("href") or "").startswith("#/"):
            link.click()
            expect(link).to_have_attribute("aria-current", "page")
            seen.add(page.locator("main").get_attribute("data-view"))

    assert seen == VIEWS.keys() - {"contract"}


def test_a_view_that_does_not_exist_says_so(page, demo):
    page.goto(f"{demo.url}/#/nothing")

    expect(page.locator("main")).to_contain_text("There is no such view")


def test_a_view_that_cannot_be_loaded_says_so_and_comes_later(open_page, demo, watch):
    watch.announce("ERR_FAILED")
    page = open_page(demo, "/livez")
    page.route("**/page/views/limits/**", lambda route: route.abort())
    page.goto(address(demo, "limits"))
    expect(view(page, "limits")).to_contain_text("Limits could not be loaded")

    page.unroute_all()
    page.goto(address(demo, "book"))
    page.goto(address(demo, "limits"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Limits")
