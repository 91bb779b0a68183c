"""What holds for the page whatever it shows."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.browser.reading import figure, wait_change, wait_state

MOST_BYTES = 300_000

# Run before any script of the page: when the first figure was there.
_FIRST_FIGURE = """
new MutationObserver((_, observer) => {
    if (!document.querySelector('[data-value]')) return;
    window.firstFigureMs = performance.now();
    observer.disconnect();
}).observe(document, {subtree: true, childList: true, attributes: true});
"""
_FIRST_PAINT = """
() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime
"""


def test_the_first_load_is_light(open_page, demo, watch, measured):
    """The times are only shown: they belong to the machine."""
    page = open_page(demo, "/livez")
    watch.requests.clear()
    page.add_init_script(_FIRST_FIGURE)
    page.goto(demo.url)
    page.locator("[data-value]").first.wait_for()
    page.wait_for_function("window.firstFigureMs")

    files = {
        request.url
        for request in watch.requests
        if not urlsplit(request.url).path.startswith(("/v1/", "/readyz"))
    }
    sizes = [
        int(page.context.request.get(each).headers["content-length"]) for each in files
    ]
    measured("first paint", f"{page.evaluate(_FIRST_PAINT):.0f} ms")
    measured("first figure", f"{page.evaluate('window.firstFigureMs'):.0f} ms")
    measured("static files", f"{sum(sizes):,} bytes in {len(sizes)} files")
    assert len(sizes) > 1
    assert 10_000 < sum(sizes) <= MOST_BYTES


def test_the_figures_change_by_themselves(page):
    wait_state(page)
    wait_change(figure(page, "theta"))


def test_no_script_runs_that_is_not_a_file_of_the_service(page, watch):
    watch.announce("Content Security Policy")
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.hasRun = true';
            document.head.append(script);
        }"""
    )

    assert page.evaluate("window.hasRun") is None
    assert len(watch.messages) == 1


def test_what_is_chosen_is_seen_with_forced_colours(page):
    page.emulate_media(forced_colors="active")
    for choices in (".nav a", ".segments [aria-pressed]"):
        page.locator(choices).first.wait_for()
        adjusted = page.locator(choices).evaluate_all(
            "all => all.map(each => getComputedStyle(each).forcedColorAdjust)"
        )
        assert adjusted.count("none") == 1, (choices, adjusted)
