"""What no page may do, in any test: warn, fail, or ask another host."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_OWN_SCHEMES = {"about", "blob", "data"}
_BAD_TYPES = {"assert", "error", "warning"}
# The page asks whether the service is ready, and Chromium reports a "no" as an error.
_NOT_READY = r"status of 503 .*/readyz"


class Watch:
    """Collects the complaints of all pages of a test.

    A test that provokes a message says so first, with `announce`.
    """

    def __init__(self):
        self.requests = []
        self._origins = set()
        self._announced = [re.compile(_NOT_READY)]
        self._complaints = []
        self._foreign = []

    def announce(self, pattern):
        """Accept messages that the pattern finds, from now on and from before."""
        self._announced.append(re.compile(pattern))

    def follow(self, context, origin):
        """Watch the pages of a context, which may ask this origin."""
        self._origins.add(origin)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("request", self._on_request)

    @property
    def messages(self):
        """All messages, also those that were announced."""
        return tuple(self._complaints)

    def leave(self, context):
        """Look away from the pages of a context."""
        context.remove_listener("console", self._on_console)
        context.remove_listener("weberror", self._on_error)
        context.remove_listener("request", self._on_request)

    def complaints(self):
        """Return the messages that no test has announced."""
        return [
            each
            for each in self._complaints
            if not any(pattern.search(each) for pattern in self._announced)
        ]

    def assert_quiet(self):
        """Fail with everything that was not announced.

        A violation of the content security policy is an error on the console.
        """
        assert not self._foreign, f"requests to other hosts: {self._foreign}"
        complaints = self.complaints()
        assert not complaints, f"messages on the console: {complaints}"

    def _on_console(self, message):
        if message.type in _BAD_TYPES:
            place = message.location
            where = f"{place.get('url')}:{place.get('lineNumber')}"
            self._complaints.append(f"{message.type}: {message.text} ({where})")

    def _on_error(self, error):
        self._complaints.append(f"exception: {error.error}")

    def _on_request(self, request):
        url = urlsplit(request.url)
        self.requests.append(request)
        if url.scheme in _OWN_SCHEMES:
            return
        if f"{url.scheme}://{url.netloc}" not in self._origins:
            self._foreign.append(request.url)
