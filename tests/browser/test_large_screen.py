"""A screen of 4K: the page fills it, with letters of a readable size."""

from __future__ import annotations

from tests.browser.reading import wait_state

SCREEN = {"width": 3840, "height": 2160}


def test_a_large_screen_is_filled_and_readable(open_page, demo):
    page = open_page(demo, "/#/what-if", viewport=SCREEN)
    wait_state(page)
    cell = page.get_by_role("gridcell").first
    cell.wait_for()
    main = page.locator("main").bounding_box()

    assert main["x"] + main["width"] > 0.97 * SCREEN["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREEN["width"]
    # A cell is 36 pixels high on a usual screen.
    assert cell.bounding_box()["height"] >= 50


def test_the_pointer_over_a_chart_reads_the_value_below_it(open_page, demo):
    page = open_page(demo, "/#/what-if", viewport=SCREEN)
    plot = page.locator(".u-over")
    plot.wait_for()
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    # From -15 to +15 %.
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)

    legend = page.locator(".u-legend .u-series").first
    assert "+9" in legend.inner_text()
