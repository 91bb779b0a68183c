"""The documents agree with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.tools.blocks import read_blocks
from docs.tools.pages import PAGES
from greeks_trio.commands.cli import commands
from greeks_trio.drill.schedule import KINDS
from greeks_trio.simulators.registry import SIMULATORS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "db/README.md",
    )
}
BROKER_PACKAGES = {
    path.parent.name: path.parent
    for path in (ROOT / "greeks_trio/brokers").glob("*/__init__.py")
}
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "greeks_trio").rglob("*.py")
)


def prose(text):
    """Return a page without its blocks of code."""
    for block in reversed(read_blocks(text)):
        text = text[: block.start] + text[block.end :]
    return text


def anchors(text):
    """Return the anchors of the headings, as GitHub and the site make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(prose(text))
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_made_from_code_is_up_to_date(name):
    text = (ROOT / name).read_text(encoding="utf-8")

    assert text == PAGES[name](), "bin/docs write makes it anew"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name):
    for target in LINK.findall(prose(DOCUMENTS[name])):
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name

        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - {"CHANGELOG.md"}))
def test_every_metric_that_is_named_exists(name):
    for metric in re.findall(r"`(greeks_[a-z_]+)`", DOCUMENTS[name]):
        if metric not in {
            *("greeks_trio", "greeks_asof", "greeks_beside", "greeks_now"),
            "greeks_with_estimates",
        }:
            assert f"`{metric}`" in DOCUMENTS["docs/metrics.md"], metric


def events_of_the_runbook():
    table = DOCUMENTS["docs/runbook.md"].partition("## Log events")[2]
    return re.findall(r"`([a-z]+\.[a-z_]+)(?: [^`]*)?`", table.partition("\n## ")[0])


def test_the_runbook_names_events_that_are_logged():
    events = events_of_the_runbook()

    assert len(events) > 20
    for event in events:
        assert re.search(rf"\"{re.escape(event)}\b", SOURCE), event


def test_the_runbook_explains_every_critical_event():
    logged = set(re.findall(r'logger\.critical\(\s*"([a-z_]+\.[a-z_]+)', SOURCE))

    assert len(logged) > 10
    assert logged - set(events_of_the_runbook()) == set()


@pytest.mark.parametrize(
    "name",
    sorted(name for name, each in commands.commands.items() if not each.hidden),
)
def test_the_documents_explain_every_command(name):
    pages = (text for path, text in DOCUMENTS.items() if path != "docs/commands.md")

    assert f"\n## {name}\n" in DOCUMENTS["docs/commands.md"]
    assert any(f"run-ingest {name}" in text for text in pages)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4])
def test_the_documents_explain_every_exit_status(status):
    page = DOCUMENTS["docs/service.md"]
    about = page[page.index("Exit status") :]

    assert re.search(rf"(^|[\s|`*]){status}([\s|`*:]|$)", about, re.MULTILINE)


def test_the_readme_has_the_parts_that_people_look_for():
    headings = " ".join(HEADING.findall(README)).lower()

    for part in ("demo", "questions", "accounts", "promise", "not"):
        assert part in headings
    assert "## Differences" in DOCUMENTS["docs/decisions.md"]
    assert "## Log events" in DOCUMENTS["docs/runbook.md"]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("broker", list(SIMULATORS))
def test_the_documents_tell_what_each_fault_does(broker):
    page = DOCUMENTS["docs/faults.md"]

    for name, kind in SIMULATORS[broker].faults.items():
        assert re.search(rf"\| `{name}` \|.*{re.escape(kind.help)}", page)


@pytest.mark.parametrize("kind", KINDS)
def test_the_documents_explain_every_kind_of_the_drill(kind):
    assert f"`{kind}`" in DOCUMENTS["docs/testing.md"]


@pytest.mark.parametrize("broker", sorted(BROKER_PACKAGES))
def test_every_broker_has_the_files_that_a_new_one_gets(broker):
    table = DOCUMENTS["docs/adding-a-broker.md"].partition("| file | task |")[2]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    files = re.findall(r"`([\w/.]+)`", " ".join(cells))

    assert len(files) > 10
    for name in files:
        assert (BROKER_PACKAGES[broker] / name).exists(), name


def test_the_changelog_names_the_present_version():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE).group(1)

    assert f"## [{version}]" in CHANGELOG
