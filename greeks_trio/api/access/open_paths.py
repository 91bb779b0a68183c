"""The paths that need neither the token nor a session, and the pages that need one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from greeks_trio.api.access.browser_sessions import SESSION_PATH

# The address of each page, and its file in `greeks_trio/page`.
PAGES: Final[Mapping[str, str]] = {"/": "index.html", "/docs": "docs.html"}

# The file in place of a page before the login.
LOGIN_FORM: Final = "/page/login.html"

# The route of the session checks the token itself.  The form works before the login.
OPEN_PATHS: Final = frozenset(
    {
        "/livez",
        "/healthz",
        SESSION_PATH,
        LOGIN_FORM,
        "/page/login.css",
        "/page/login.js",
        "/page/icon.svg",
    }
)
