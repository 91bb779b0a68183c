"""Each module and each file that a comment, a docstring or a document names exists."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("greeks_trio", "tests", "docs", "db", "bin")
FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
}
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        *sorted(
            name for name in FILES if name.endswith((".py", ".md", ".sql", ".yml"))
        ),
    ]
}
MODULE = re.compile(r"`(greeks_trio(?:\.\w+)+)`")
FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*\w|(?:\w+/)+\w+\.py)`")


def is_ours(name: str) -> bool:
    """Return whether a dotted name is a package, a module, or a part of a module."""
    path, _, attribute = name.replace(".", "/").rpartition("/")
    if {f"{path}/{attribute}", f"{path}/{attribute}.py"} & FILES:
        return True
    return f"{path}.py" in FILES and hasattr(
        pkgutil.resolve_name(path.replace("/", ".")), attribute
    )


@pytest.mark.parametrize("text", [name for name in TEXTS if MODULE.search(TEXTS[name])])
def test_every_module_that_is_named_exists(text):
    for name in MODULE.findall(TEXTS[text]):
        assert is_ours(name), name


@pytest.mark.parametrize("text", [name for name in TEXTS if FILE.search(TEXTS[name])])
def test_every_file_that_is_named_exists(text):
    package = Path(text).parent
    for name in FILE.findall(TEXTS[text]):
        # In the table of a broker's files the names are those in its package.
        near = {f"{package}/{name}", f"greeks_trio/brokers/ibkr/{name}"}
        assert "NAME" in name or FILES & {name, *near}, name
