"""Fixtures for every test; each family is a plug-in of its own."""

from __future__ import annotations

import gc
import logging
import os
from functools import cache

import httpcore2
import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from greeks_trio import foreign_text

pytest_plugins = ["tests.fix_postgres", "tests.fix_processes", "tests.fix_proxy"]

# Ten thousand tests are a million objects that stay.  The collector would look at them again
# and again, which is a tenth of the processor time; see `pytest_collection_finish`.
gc.disable()

# The default limits of Hypothesis are moments: an example of 200 ms, or slow data, would
# fail on a busy machine.  Each run tries the same examples; `tests.fuzz` looks for others.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

_BROWSER = "tests/browser/"
_MEASURED = "measured"
_OURS = ("GREEKS_", "POSTGRES_", "IBKR_", "TT_", "TASTYTRADE_")


@pytest.fixture(autouse=True, scope="session")
def no_configuration_from_outside():
    """No test may see, or reach, what the developer's environment is set up for."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def authorities_loaded_once():
    """To load them for one of some thousand HTTP clients would cost more than its test."""
    with pytest.MonkeyPatch.context() as patch:
        load = cache(httpcore2.default_ssl_context)
        patch.setattr(httpcore2, "default_ssl_context", load)
        yield


@pytest.fixture(autouse=True)
def no_secret_of_other_tests(monkeypatch):
    """A password of another test must not be masked in the texts of this one."""
    monkeypatch.setattr(foreign_text, "_secrets", foreign_text.SecretRegistry())


@pytest.fixture(autouse=True)
def no_log_level_of_other_tests():
    """A command that a test runs in this process sets up the log of the process."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)


class _OneProcessForTheBrowser(LoadFileScheduling):
    """Each file in one process, and all files of the browser in the same one."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return _BROWSER if file.startswith(_BROWSER) else file


def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of the page together: they share a browser and running services."""
    if config.getoption("dist") == "loadfile":
        return _OneProcessForTheBrowser(config, log)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Let the slow files come first, so that none is left to one process at the end.

    The page first, which takes a process for a minute, then files with long time-outs,
    then the acceptance tests, then those with a database; otherwise the random order of
    pytest-randomly stays, which is made before.
    """
    if config.getoption("screenshots"):
        items[:] = [item for item in items if "take" in item.fixturenames]
    directories = ("acceptance", "database")
    limits = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit_s = marker.args[0] if marker else 0
        limits[item.path] = max(limits.get(item.path, 0), limit_s)

    def rank(item):
        directory = item.path.parent.name
        place = directories.index(directory) if directory in directories else 2
        return not item.nodeid.startswith(_BROWSER), -limits[item.path], place

    items.sort(key=rank)


def pytest_collection_finish():
    """Collect again from here on, and leave out everything that is there."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser):
    """Let ``bin/docs screenshots`` keep the pictures of the page."""
    parser.addoption("--screenshots", metavar="DIR", help="where to keep the pictures")


@pytest.fixture
def measured(record_property):
    """A function that takes a name and a text, which the end of the run shows."""
    return lambda name, text: record_property(_MEASURED, f"{name}: {text}")


def pytest_terminal_summary(terminalreporter):
    """Show what tests have measured."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == _MEASURED and report.when == "call":
                terminalreporter.write_line(f"measured {text}")
