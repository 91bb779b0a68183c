"""The documents as a site."""

from __future__ import annotations

import re
import shutil

import pytest

from docs.tools.site import SiteError, build_site
from tests.fix_processes import CHECKOUT

pytestmark = pytest.mark.timeout(120)

# The files that a browser would load, as opposed to links that a reader follows.
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]* (?:src|href)=\"https?:[^>]*")


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    build_site(CHECKOUT, tmp_path / "site")

    pages = {path.stem: path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    names = {path.stem for path in (CHECKOUT / "docs").glob("*.md")}
    assert pages.keys() == names | {"index", "contributing", "changelog", "404"}
    assert 'src="images/page-light.png"' in pages["index"]
    assert not list(tmp_path.rglob("*.py"))
    assert not [name for name, text in pages.items() if LOADED.search(text)]


def test_a_broken_link_stops_the_build(tmp_path):
    for name in ("docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        source = CHECKOUT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    tutorial = tmp_path / "docs" / "tutorial.md"
    tutorial.write_text(tutorial.read_text("utf-8") + "\n[gone](runbook.md#gone)\n")

    with pytest.raises(SiteError, match="anchor does not exist"):
        build_site(tmp_path, tmp_path / "site")
