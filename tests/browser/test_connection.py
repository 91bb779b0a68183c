"""The page on a service that asks for a token, and whose parts fail one after the other."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import figure, wait_change, wait_state
from tests.browser.services import open_line
from tests.browser.views import VIEWS

FAILED_REQUEST = "Failed to load resource"


def log_in(page, token):
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")


def test_the_token_opens_the_page(open_page, staged, watch):
    page = open_page(staged, is_logged_in=False)
    expect(page.get_by_label("Token")).to_be_focused()
    assert_accessible(page)
    assert page.locator("[data-value]").count() == 0

    watch.announce(FAILED_REQUEST)
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("token")
    log_in(page, staged.token)
    wait_state(page)
    page.reload()
    wait_state(page)
    wait_change(figure(page, "theta"))


def test_a_line_that_is_cut_is_told_and_mends_by_itself(
    open_page, portal, staged, watch
):
    watch.announce("net::ERR_")
    with open_line(portal, staged) as line:
        page = open_page(line)
        wait_state(page)
        page.goto(line.url + VIEWS["brokers"])
        health = page.get_by_role("region", name="Health of the brokers")
        expect(health).to_contain_text("connected")
        with line.cut():
            wait_state(page, "lost")
            expect(health).to_contain_text("not known")
            expect(health).not_to_contain_text("connected")
            page.goto(line.url + VIEWS["book"])
            assert_accessible(page)
        wait_state(page)
        wait_change(figure(page, "theta"))


def test_a_service_that_is_gone_is_told_and_its_return_is_noticed(
    open_page, staged, watch
):
    page = open_page(staged)
    wait_state(page)
    watch.announce(FAILED_REQUEST)

    staged.stop()
    wait_state(page, "lost")
    staged.start()
    # The sessions of browsers end with the service.
    wait_state(page, "login")
    page.get_by_role("button", name="Log in").click()
    log_in(page, staged.token)
    wait_state(page)
    wait_change(figure(page, "theta"))


def test_a_link_of_another_site_leads_into_the_session(open_page, staged, watch):
    page = open_page(staged, "/livez")
    page.goto("about:blank")
    page.set_content(f'<a href="{staged.url}/#/health">Look</a>')

    page.get_by_role("link", name="Look").click()

    wait_state(page)
    assert page.url == f"{staged.url}/#/health"
    # The browser has left the cookie out, so the form was there first.
    assert f"{staged.url}/page/login.js" in [each.url for each in watch.requests]


def test_after_the_log_out_the_figures_are_gone(open_page, staged, watch):
    page = open_page(staged)
    wait_state(page)
    watch.announce(FAILED_REQUEST)

    page.get_by_role("link", name="Log out").click()

    expect(page.get_by_label("Token")).to_be_visible()
    assert page.locator("[data-value]").count() == 0
    page.go_back()
    expect(page.locator("[data-value]")).to_have_count(0)


def test_the_form_says_that_the_service_does_not_answer(open_page, staged, watch):
    page = open_page(staged, is_logged_in=False)
    watch.announce("net::ERR_")
    page.context.set_offline(True)

    log_in(page, staged.token)

    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_label("Token")).to_be_focused()
    page.context.set_offline(False)
    page.keyboard.press("Enter")
    wait_state(page)
