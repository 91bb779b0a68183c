"""Visitors of a page, each with a browser of its own as far as the page can see."""

from __future__ import annotations

from contextlib import ExitStack

from tests.browser.views import DESK

# Far more than anything takes here, also on a busy machine.
PATIENCE_MS = 40_000


class Visitors:
    """Opens pages, under the eyes of one watch; closes them at the end of the block."""

    def __init__(self, browser, watch):
        self._browser = browser
        self._watch = watch
        self._contexts = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._contexts.close()

    def open(self, service, address="/", *, is_logged_in=True, **options):
        """Return a page of the service, as a new visitor sees it.

        The options are those of Playwright's `new_context`, such as ``color_scheme``.
        Where the service asks for a token, the visitor has logged in.
        """
        context = self._browser.new_context(
            **{"viewport": DESK, "reduced_motion": "reduce"} | options
        )
        self._contexts.callback(context.close)
        context.set_default_timeout(PATIENCE_MS)
        self._watch.follow(context, service.url)
        if service.token and is_logged_in:
            login = f"{service.url}/v1/session"
            context.request.post(login, data={"token": service.token})
        page = context.new_page()
        page.goto(service.url + address)
        return page
