"""One browser, one demo and one service with faults for all tests of the page.

They last as long as this directory is being tested: while Playwright runs, no test of the
same process could use asyncio.  `tests/conftest.py` gives the directory to one process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import expect, sync_playwright

from tests.browser import chromium
from tests.browser.services import (
    BOTH_HAVE_ROWS,
    IS_FULL,
    SMALL,
    open_demo,
    open_staged,
)
from tests.browser.views import VIEWS
from tests.browser.visitors import PATIENCE_MS, Visitors
from tests.browser.watch import Watch
from tests.fix_postgres import fresh_database

# The picture of an empty page has a fifth.  The README loads them all.
SMALLEST_PICTURE, LARGEST_PICTURE = 20_000, 250_000


@pytest.fixture(scope="package")
def portal():
    """Trio in a thread, which runs the processes."""
    with start_blocking_portal("trio") as portal:
        yield portal


@pytest.fixture(scope="package")
def browser():
    """One Chromium; each test opens contexts of its own, which share nothing."""
    assert chromium.CHROMIUM, chromium.MISSING
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.CHROMIUM, args=chromium.ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def demo(request, portal, tmp_path_factory):
    """The demo with the plain book."""
    directory = tmp_path_factory.mktemp("demo")
    # Its own size looks better on pictures.
    is_shown = request.config.getoption("screenshots")
    with open_demo(portal, directory, *(() if is_shown else SMALL)) as demo:
        yield demo


@pytest.fixture(scope="package")
def _real(portal, tmp_path_factory):
    arguments = ("--book", "real", "--contracts", "90", "--rate", "200")
    directory = tmp_path_factory.mktemp("real")
    with open_demo(portal, directory, *arguments, until=IS_FULL) as demo:
        demo.stop_feeds()
        yield demo


@pytest.fixture(scope="module")
def resting(_real):
    """The demo with the real book, without ticks: its numbers stand still.

    They are some minutes old at most.  Otherwise they would become stale in its tests.
    """
    if not _real.has(IS_FULL):
        _real.start_feeds()
        _real.wait_until(IS_FULL)
        _real.stop_feeds()
    return _real


@pytest.fixture(scope="module")
def real_demo(_real):
    """The same demo, with ticks; not in a module with tests of `resting`."""
    _real.start_feeds()
    _real.wait_connected()
    yield _real
    _real.stop_feeds()


@pytest.fixture(scope="package")
def _staged(portal, postgres_server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("staged")
    with (
        fresh_database(postgres_server) as database,
        open_staged(portal, directory, postgres_server, database) as staged,
    ):
        staged.start()
        yield staged


@pytest.fixture
def staged(_staged):
    """A running service with a token, whose brokers and database can fail."""
    _staged.wait_until(BOTH_HAVE_ROWS)
    _staged.wait_connected()
    return _staged


@pytest.fixture
def empty(portal, _staged, empty_database, tmp_path):
    """A service on an empty database, whose only account holds nothing."""
    with _staged.beside(tmp_path, empty_database) as service:
        yield service


@pytest.fixture
def watch():
    """The complaints of this test's pages; a test fails at its end if there are any."""
    watch = Watch()
    yield watch
    watch.assert_quiet()


@pytest.fixture(scope="package")
def _kept(browser):
    return {}


@pytest.fixture
def open_page(browser, watch, _kept):
    """A function that opens a page of a service: `Visitors.open`."""
    with Visitors(browser, watch, _kept) as visitors:
        yield visitors.open


@pytest.fixture
def page(open_page, demo):
    """The page of the demo, in the book."""
    return open_page(demo, VIEWS["book"])


@pytest.fixture
def take(request, tmp_path):
    """A function that takes the picture of a page, where ``--screenshots`` says."""
    directory = Path(request.config.getoption("screenshots") or tmp_path)

    def take(page, name):
        path = directory / f"page-{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert SMALLEST_PICTURE < path.stat().st_size < LARGEST_PICTURE

    return take
