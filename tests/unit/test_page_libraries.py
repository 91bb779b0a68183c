"""The libraries of the page are those of the lock file, whole and with their licences."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "greeks_trio/page"
VENDOR = PAGE / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())
LOCKED = json.loads((VENDOR / "package-lock.json").read_text())["packages"]
# Only for npm, or made by the build beside the libraries.
OTHERS = {
    ".npmrc",
    "LICENCES.txt",
    "build.mjs",
    "manifest.json",
    "package-lock.json",
    "package.json",
    "preact.entry.mjs",
}


def test_every_file_is_the_one_that_the_build_made():
    for name, made in MANIFEST["files"].items():
        content = (VENDOR / name).read_bytes()

        assert len(content) == made["bytes"], name
        assert hashlib.sha256(content).hexdigest() == made["sha256"], name
        assert len(content) < 2_000_000, name


def test_every_file_is_in_the_manifest():
    found = {path.name for path in VENDOR.iterdir() if path.is_file()}

    assert found == MANIFEST["files"].keys() | OTHERS


def test_the_versions_are_those_of_the_lock_file():
    for name, package in MANIFEST["packages"].items():
        locked = LOCKED[f"node_modules/{name}"]

        assert (package["version"], package["license"]) == (
            locked["version"],
            locked["license"],
        )


def test_the_lock_file_names_the_content_of_every_package():
    for name, package in LOCKED.items():
        if name:
            assert package["integrity"].startswith("sha512-"), name

    wanted = json.loads((VENDOR / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in wanted.values())


def test_every_package_has_its_licence():
    text = (VENDOR / "LICENCES.txt").read_text()

    for name, package in MANIFEST["packages"].items():
        assert f"{name} {package['version']} ({package['license']})\n" in text
        assert package["license"] in {"Apache-2.0", "MIT", "OFL-1.1"}
    assert "SmartBear" in text  # the notice that Apache-2.0 asks for


class Elements(HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.found[-1] if self.found else ("", {})
        if tag in {"script", "style"}:
            attributes["text"] = attributes.get("text", "") + data.strip()


@pytest.mark.parametrize(
    "path", sorted(PAGE.glob("*.html")), ids=lambda path: path.name
)
def test_no_page_has_code_or_style_inside_or_loads_from_elsewhere(path):
    for tag, attributes in Elements(path.read_text()).found:
        about = f"{path.name}: <{tag}> {attributes}"
        assert tag not in {"style", "iframe", "object", "embed", "base"}, about
        assert not [name for name in attributes if name.startswith("on")], about
        assert "style" not in attributes, about
        if tag == "script":
            assert attributes["src"], about
            assert not attributes.get("text"), about
        for name in ("src", "href"):
            link = attributes.get(name, "/")
            assert link.startswith(("/", "#")), about
            assert not link.startswith("//"), about
