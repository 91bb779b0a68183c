"""The documentation of the HTTP interface at ``/docs``."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import wait_state
from tests.browser.views import PHONE


def operation(page, name):
    return page.locator(f"#operations-{name}")


@pytest.fixture
def open_operation(open_page, demo):
    """A function that opens the documentation at one operation, such as greeks/latest."""

    def open_operation(name, **options):
        page = open_page(demo, f"/docs#/{name}", **options)
        expect(operation(page, name.replace("/", "-"))).to_have_class(
            re.compile("is-open")
        )
        return page

    return open_operation


def try_it_out(page):
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    return page.locator(".live-responses-table tbody")


def test_every_operation_is_there_and_the_way_back(open_page, demo):
    described = demo.ask("GET", "/openapi.json")["paths"].values()
    page = open_page(demo, "/docs")

    expect(page.locator(".opblock")).to_have_count(sum(map(len, described)))
    expect(operation(page, "greeks-latest")).to_contain_text(
        "Return the newest Greeks of each contract"
    )
    page.get_by_role("link", name="Live page").click()
    wait_state(page)


def test_a_read_can_be_tried(open_operation, demo):
    [row] = demo.fetch("select contract_key from latest_greeks limit 1")
    page = open_operation("greeks/latest")

    answer = try_it_out(page)

    expect(answer.locator(".response-col_status").first).to_contain_text("200")
    expect(answer).to_contain_text(row["contract_key"])


def test_a_write_has_the_headers_that_the_service_asks_for(open_operation):
    page = open_operation("session/open_session")

    answer = try_it_out(page)

    expect(answer.locator(".response-col_status").first).to_contain_text("204")


def test_the_stream_has_no_end_and_cannot_be_tried(open_operation):
    page = open_operation("stream/stream")

    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()
    expect(page.get_by_role("button", name="Try it out")).to_have_count(0)


def test_the_documentation_is_accessible(open_operation):
    page = open_operation("greeks/latest")
    expect(try_it_out(page)).to_contain_text("200")
    write = operation(page, "trades-record_trade")
    write.get_by_role("button").first.click()
    write.get_by_role("button", name="Try it out").click()

    assert_accessible(page)


def test_the_documentation_fits_a_phone(open_operation):
    page = open_operation("greeks/latest", viewport=PHONE)

    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == PHONE["width"]
