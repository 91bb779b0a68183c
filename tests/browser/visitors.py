"""Visitors of a page, each with a browser of its own as far as the page can see."""

from __future__ import annotations

from contextlib import ExitStack

from tests.browser.views import DESK, NOWHERE

# Far more than anything takes here, also on a busy machine.
PATIENCE_MS = 40_000


class Visitors:
    """Opens pages, under the eyes of one watch; closes them at the end of the block.

    To load a page costs a second of processor time.  So a visit that asks for nothing
    special goes on with the page of an earlier one, by its address alone.

    Args:
        kept: The pages of earlier visits by the URL of the service; it is changed.
    """

    def __init__(self, browser, watch, kept):
        self._browser = browser
        self._watch = watch
        self._kept = kept
        self._visits = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._visits.close()

    def open(self, service, address="/", *, is_logged_in=True, **options):
        """Return a page of the service at the address.

        The visitor is a new one, unless the address is that of a view (``/#/...``) and
        there are no options.  The options are those of Playwright's `new_context`, such
        as ``color_scheme``.  Where the service asks for a token, the visitor has logged in.
        """
        is_plain = address.startswith("/#/") and not options and not service.token
        page = self._kept.pop(service.url, None) if is_plain else None
        if page is None:
            page = self._new_page(options)
            if service.token and is_logged_in:
                login = f"{service.url}/v1/session"
                page.context.request.post(login, data={"token": service.token})
        self._watch.follow(page.context, service.url)
        end = self._keep if is_plain else self._close
        self._visits.callback(end, page, service)
        page.goto(service.url + address)
        return page

    def _new_page(self, options):
        context = self._browser.new_context(
            **{"viewport": DESK, "reduced_motion": "reduce"} | options
        )
        context.set_default_timeout(PATIENCE_MS)
        return context.new_page()

    def _keep(self, page, service):
        if page.locator("html").get_attribute("data-state") != "live":
            self._close(page, service)
            return
        page.unroute_all()
        page.set_viewport_size(DESK)
        page.mouse.move(0, 0)
        page.goto(service.url + NOWHERE)
        self._watch.leave(page.context)
        if older := self._kept.get(service.url):
            older.context.close()
        self._kept[service.url] = page

    def _close(self, page, _service):
        page.context.close()
