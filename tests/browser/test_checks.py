"""The checks that every test of a page makes see what they should."""

from __future__ import annotations

import pytest

from tests.browser.accessibility import assert_accessible, assert_keyboard_reaches_all
from tests.browser.watch import Watch

GOOD = """
<!doctype html><html lang="en"><title>Greeks</title>
<style>
    :root { color-scheme: light dark; background: light-dark(#fff, #111) }
    * { color: light-dark(#111, #eee) }
</style>
<main><h1>Greeks</h1><a href="#delta">delta</a> <button>vega</button></main>
"""


@pytest.fixture
def watched(browser):
    """An empty page and its watch, which no test has to leave quiet."""
    watch = Watch()
    context = browser.new_context()
    watch.follow(context, "http://127.0.0.1:9")
    yield context.new_page(), watch
    context.close()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("() => console.error('no delta')", "error: no delta"),
        ("() => console.warn('old delta')", "warning: old delta"),
        ("() => { setTimeout(() => { throw new Error('no vega') }) }", "no vega"),
        ("() => { Promise.reject(new Error('no theta')) }", "no theta"),
    ],
)
def test_a_message_fails_a_test_unless_it_was_announced(watched, script, message):
    page, watch = watched
    watch.assert_quiet()
    page.evaluate(script)
    while not watch.messages:  # the page's events come when Playwright waits
        page.wait_for_timeout(10)

    with pytest.raises(AssertionError, match=message):
        watch.assert_quiet()
    watch.announce(message)
    watch.assert_quiet()


def test_a_request_to_another_host_fails_a_test(watched):
    page, watch = watched
    watch.announce("ERR_")
    with page.expect_request("**/greeks.js"):
        page.evaluate("() => { fetch('http://127.0.0.2:9/greeks.js').catch(() => 0) }")

    with pytest.raises(AssertionError, match=r"http://127\.0\.0\.2:9/greeks\.js"):
        watch.assert_quiet()


def test_a_good_page_is_accessible(watched):
    page, _ = watched
    page.set_content(GOOD)
    assert_accessible(page)
    assert_keyboard_reaches_all(page)


@pytest.mark.parametrize(
    ("part", "finding"),
    [
        ("<img src='data:,'>", "image-alt"),
        ("<p style='color: light-dark(#ccc, #eee)'>pale</p>", "light: color-contrast"),
        ("<p style='color: light-dark(#111, #333)'>dim</p>", "dark: color-contrast"),
    ],
)
def test_axe_finds_what_some_people_cannot_use(watched, part, finding):
    page, _ = watched
    page.set_content(GOOD.replace("<h1>", f"{part}<h1>"))

    with pytest.raises(AssertionError, match=finding):
        assert_accessible(page)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (("<button>", "<button onfocus='blur()'>"), "BUTTON"),
        (("<button>", "<button style='outline: none'>"), "nothing shows"),
    ],
)
def test_a_part_that_the_keyboard_does_not_reach_is_found(watched, change, finding):
    page, _ = watched
    page.set_content(GOOD.replace(*change))

    with pytest.raises(AssertionError, match=finding):
        assert_keyboard_reaches_all(page)
