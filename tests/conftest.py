"""Fixtures for every test; each family is a plug-in of its own."""

from __future__ import annotations

import os

import pytest

from greeks_trio import foreign_text

pytest_plugins = ["tests.fix_postgres", "tests.fix_processes", "tests.fix_proxy"]

_OURS = ("GREEKS_", "POSTGRES_", "IBKR_", "TT_", "TASTYTRADE_")


@pytest.fixture(autouse=True, scope="session")
def no_configuration_from_outside():
    """No test may see, or reach, what the developer's environment is set up for."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def no_secret_of_other_tests(monkeypatch):
    """A password of another test must not be masked in the texts of this one."""
    monkeypatch.setattr(foreign_text, "_secrets", foreign_text.SecretRegistry())
