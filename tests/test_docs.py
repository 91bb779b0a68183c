"""What the documents say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greeks_trio.commands.cli import commands
from greeks_trio.config.parse import VARIABLES, parse_config
from greeks_trio.config.settings import RESTART_VARIABLES
from greeks_trio.simulators.faults import FAULT_KINDS

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SETTING = re.compile(r"^#([A-Z][A-Z_]+)=(.*)$", re.MULTILINE)


def test_the_example_has_every_variable_once_and_in_order():
    assert [name for name, _ in SETTING.findall(EXAMPLE)] == sorted(
        VARIABLES, key=lambda name: EXAMPLE.index(f"#{name}=")
    )


def test_the_defaults_of_the_example_are_the_real_ones():
    settings = dict(SETTING.findall(EXAMPLE))
    # What cannot be left out, so that the other settings are read.
    needed = {
        "IBKR_ENABLED": "true",
        "TASTYTRADE_ENABLED": "true",
        "TT_SECRET": "x",
        "TT_REFRESH": "x",
    }

    assert parse_config({**settings, **needed}) == parse_config(needed)


@pytest.mark.parametrize("name", VARIABLES)
def test_the_example_says_whether_sighup_applies_it(name):
    before = EXAMPLE[: EXAMPLE.index(f"#{name}=")]
    comment = before[before.rindex("\n\n") if "\n\n" in before else 0 :]
    [*_, mark] = re.findall(r"\[(SIGHUP|restart)\b[^]]*\]", comment)

    needs_restart = name in RESTART_VARIABLES or name == "GREEKS_ENV_FILE"
    assert mark == ("restart" if needs_restart else "SIGHUP")


@pytest.mark.parametrize(
    "name",
    sorted(name for name, each in commands.commands.items() if not each.hidden),
)
def test_the_readme_explains_every_command(name):
    assert re.search(rf"(run-ingest {name}\b|`{name}\b)", README)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4])
def test_the_readme_explains_every_exit_status(status):
    about = README[re.search(r"exit status", README, re.IGNORECASE).start() :]

    assert re.search(rf"(^|[\s|`*]){status}([\s|`*:]|$)", about, re.MULTILINE)


def test_the_readme_has_the_parts_that_people_look_for():
    headings = " ".join(re.findall(r"^#+ (.*)$", README, re.MULTILINE)).lower()

    for part in ("quick start", "commands", "operat", "differences"):
        assert part in headings


def test_every_file_that_the_readme_names_exists():
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("broker", list(FAULT_KINDS))
def test_the_readme_tells_what_each_fault_does(broker):
    for name, kind in FAULT_KINDS[broker].items():
        assert re.search(rf"\| `{name}` \|.*{re.escape(kind.help)}", README)


def test_the_changelog_names_the_present_version():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE).group(1)

    assert f"## [{version}]" in CHANGELOG
