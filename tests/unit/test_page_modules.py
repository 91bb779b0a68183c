"""The modules of the page: their imports fit together, and the browser gets them at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import greeks_trio

PAGE = Path(greeks_trio.__file__).parent / "page"
START = PAGE / "app.js"
WORKER = PAGE / "lib" / "stream-worker.js"

IMPORT = re.compile(r'^import (?:(\w+)|\{([^}]*)\}) from "(\.[^"]+)";', re.MULTILINE)
# A view is loaded when it is first shown.
LATER = re.compile(r'import\("(\.[^"]+)"\)\.then\(\(module\) => module\.(\w+)\)')
EXPORT = re.compile(
    r"^export (?:async )?(?:function|const|let|class) (\w+)|^export \{([^}]*)\}",
    re.MULTILINE,
)
PRELOADED = re.compile(r'rel="modulepreload" href="/page/([^"]+)"')


def imports_of(path):
    """Yield (module, names) of each import; the name of a default import is ``default``."""
    for default, names, target in IMPORT.findall(path.read_text("utf-8")):
        yield (path.parent / target).resolve(), names_in(names) or ["default"], default


def views():
    """Yield (module, the name of the component) of each view, in their order."""
    index = PAGE / "views" / "index.js"
    for target, name in LATER.findall(index.read_text("utf-8")):
        yield (index.parent / target).resolve(), name


def exports_of(path):
    found = EXPORT.findall(path.read_text("utf-8"))
    return {one for one, _ in found} | {
        name for _, several in found for name in names_in(several)
    }


def names_in(text):
    return [name.split(" as ")[0].strip() for name in text.split(",") if name.strip()]


def reachable(start):
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [module for module, _, _ in imports_of(path)]
    return found


OWN = sorted(path for path in PAGE.rglob("*.js") if "vendor" not in path.parts)


def short(path):
    return str(path.relative_to(PAGE))


def test_the_browser_need_not_wait_for_one_module_to_learn_of_the_next():
    index = (PAGE / "index.html").read_text("utf-8")
    first, *_ = (module for module, _ in views())
    needed = (reachable(START) | reachable(first)) - {START}

    assert sorted(PRELOADED.findall(index)) == sorted(map(short, needed))


def test_every_module_is_used():
    starts = [START, WORKER, *(module for module, _ in views())]
    used = set().union(*map(reachable, starts))
    others = {PAGE / "login.js", PAGE / "docs.js", PAGE / "fleet.js"}

    assert set(OWN) - used - others == set()


@pytest.mark.parametrize("path", OWN, ids=short)
def test_imported_names_exist_and_are_used(path):
    text = path.read_text("utf-8")
    body = IMPORT.sub("", text)
    for module, names, default in imports_of(path):
        if module.parent.name != "vendor":
            assert set(names) <= exports_of(module), module
        for name in [default] if default else names:
            assert re.search(rf"\b{name}\b", body), f"{name} is not used"


def test_each_view_has_its_component():
    found = list(views())

    assert len(found) == (PAGE / "views" / "index.js").read_text("utf-8").count("load:")
    for module, name in found:
        assert name in exports_of(module), module


@pytest.mark.parametrize("path", OWN, ids=short)
def test_no_text_of_a_style_stands_in_the_html(path):
    """The policy of the page forbids it, and the browser would leave it out."""
    assert 'style="' not in path.read_text("utf-8")
