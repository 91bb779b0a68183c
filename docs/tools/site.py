"""The site: all pages together with README, CONTRIBUTING and CHANGELOG, as HTML.

The generator works on a copy, so that the README is the start page, and neither these
tools nor its cache are part of the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

TARGET: Final = Path("dist") / "site"

# The file of the checkout, and its page on the site.
_AROUND: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


class SiteError(Exception):
    """The site cannot be built; the message is the generator's."""


def build_site(root: Path, target: Path) -> None:
    """Build the site of the checkout into the directory, which is replaced.

    Raises:
        SiteError: a link is broken, or the generator has another warning.
    """
    with tempfile.TemporaryDirectory(prefix="greeks-site-") as directory:
        copy = Path(directory)
        _copy_pages(root, copy / "docs")
        shutil.copy(root / "docs/tools/zensical.toml", copy)
        done = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict"],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if done.returncode or re.search("warning|error", said, re.IGNORECASE):
            raise SiteError(said)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(copy / "site", target)


def serve_site(site: Path, port: int) -> None:
    """Serve the built site on loopback until Ctrl-C."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"The documentation is at http://127.0.0.1:{server.server_port}/")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _copy_pages(root: Path, target: Path) -> None:
    shutil.copytree(
        root / "docs", target, ignore=shutil.ignore_patterns("tools", "__pycache__")
    )
    shutil.copy(root / "LICENSE", target / "LICENSE.txt")
    for name, page in _AROUND.items():
        text = (root / name).read_text("utf-8")
        for other, its_page in _AROUND.items():
            text = text.replace(f"]({other}", f"]({its_page}")
        text = text.replace("](LICENSE)", "](LICENSE.txt)").replace("](docs/", "](")
        (target / page).write_text(text, "utf-8")
    for path in target.glob("*.md"):
        text = path.read_text("utf-8")
        for name, page in _AROUND.items():
            text = text.replace(f"](../{name}", f"]({page}")
        path.write_text(text, "utf-8")
