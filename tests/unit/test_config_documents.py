"""The documents of the settings are those of the declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import (
    BROKERS,
    GROUPS,
    SETTINGS,
    SWITCHES,
    VARIABLES,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^#([A-Z][A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)


def test_the_documents_have_every_setting_once_and_in_order():
    in_page = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)

    assert [name for name, _ in EXAMPLES] == in_page == list(VARIABLES)
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(GROUPS)


def test_the_defaults_of_the_example_are_the_real_ones():
    # Without these no other setting of a broker is read.
    needed = {
        "IBKR_ENABLED": "true",
        "TASTYTRADE_ENABLED": "true",
        "TT_SECRET": "x",
        "TT_REFRESH": "x",
    }

    assert parse_config({**dict(EXAMPLES), **needed}) == parse_config(needed)


def test_each_broker_has_a_section_with_a_switch():
    assert tuple(SWITCHES) == BROKERS


@pytest.mark.parametrize("setting", SETTINGS, ids=VARIABLES)
def test_every_setting_is_described_in_sentences(setting):
    assert re.fullmatch(r"[A-Z].*\.", setting.about)
    assert "|" not in setting.about + setting.kind.values + setting.default_text
