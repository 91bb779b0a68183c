from __future__ import annotations

import logging
import re
import signal
from pathlib import Path

import click
import pytest

from greeks_trio.commands.cli import commands, main
from greeks_trio.commands.outcome import run
from greeks_trio.errors import (
    ConfigError,
    FeedInterrupted,
    SchemaRejected,
    StoreUnavailable,
)


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


def raising(exc):
    def plan():
        raise exc

    return plan


def status_of(*args) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    return caught.value.code


@pytest.mark.parametrize(
    ("exc", "status"),
    [
        (ConfigError(["Bad."]), 2),
        (ExceptionGroup("", [ExceptionGroup("", [ConfigError(["Bad."])])]), 2),
        (SchemaRejected("newer"), 4),
        (ExceptionGroup("", [SchemaRejected("newer")]), 4),
        (StoreUnavailable("away"), 1),
        (ExceptionGroup("", [SchemaRejected("newer"), StoreUnavailable("away")]), 4),
        (ExceptionGroup("", [SchemaRejected("newer"), KeyError("bug")]), 1),
        (KeyError("bug"), 1),
        (ExceptionGroup("", [ConfigError(["Bad."]), KeyError("bug")]), 1),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), 130),
    ],
)
def test_each_outcome_has_its_exit_status(exc, status):
    assert run(raising(exc)) == status


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_result_of_a_plan_is_the_exit_status(status):
    assert run(lambda: status) == status


def test_only_a_bug_has_a_traceback(capfd):
    for exc in (ConfigError(["Bad."]), SchemaRejected("newer"), KeyboardInterrupt()):
        run(raising(exc))
    run(raising(ExceptionGroup("", [FeedInterrupted("gone")])))
    expected = capfd.readouterr().err

    run(raising(KeyError("bug")))

    assert "Traceback" not in expected
    assert "gone" in expected
    assert "Traceback" in capfd.readouterr().err


def test_every_problem_of_the_configuration_has_a_line(capfd, monkeypatch):
    monkeypatch.setenv("POSTGRES_PORT", "x")
    monkeypatch.setenv("IBKR_ENABLED", "x")

    status = status_of("check")

    lines = capfd.readouterr().err.splitlines()
    assert status == 2
    assert [line.split()[1] for line in lines] == ["POSTGRES_PORT", "IBKR_ENABLED"]


@pytest.mark.parametrize("args", [[], ["serve"], ["--embedded"], ["--only", "ibkr"]])
def test_serve_is_the_default_also_with_options_only(args, capfd):
    assert status_of(*args) == 2
    said = capfd.readouterr().err
    for words in ("No broker is enabled", "IBKR_ENABLED", "TASTYTRADE_ENABLED"):
        assert words in said


def test_only_one_broker_turns_the_other_off(monkeypatch, capfd):
    monkeypatch.setenv("IBKR_ENABLED", "true")

    assert status_of("serve", "--only", "tastytrade") == 2
    expected = "No broker is enabled (IBKR_ENABLED is set by --only): run "
    assert expected in capfd.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--rate", "0"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "-1"],
        ["demo", "--fault", "ibkr"],
        ["simulate", "--ibkr-port", "65536"],
        ["simulate", "--only", "schwab"],
        ["simulate", "--accounts", "0"],
        ["simulate", "--ibkr-lines", "-1"],
        ["simulate", "--ibkr-stream-end", "0"],
        ["simulate", "--ibkr-session-timeout", "soon"],
        ["drill", "--minutes", "0"],
        ["drill", "--rate", "no"],
        ["serve", "--data-dir", "x"],
    ],
)
def test_wrong_arguments_are_status_2_with_a_hint(args, capfd):
    assert status_of(*args) == 2
    assert "Usage:" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["serve", "demo", "simulate", "check", "migrate"])
def test_every_command_has_help(name, capfd):
    assert name in commands.commands
    assert status_of(name, "--help") == 0
    assert "Usage:" in capfd.readouterr().out


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_visible_option_is_described_in_sentences(name):
    for option in commands.commands[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert re.fullmatch(r"[A-Z].*\.", option.help), option.name


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (["serve", "--data-dir", "x"], "add --embedded or remove --data-dir"),
        (["quarantine", "--json", "--retry"], "exclude each other: remove one"),
        (["drill", "--kinds", "kill-service,fire"], "unknown: fire. Use "),
        (["simulate", "--fault", "ibkr:nonsense@1"], "nonsense"),
    ],
)
def test_options_that_do_not_fit_come_with_advice(args, advice, capfd):
    assert status_of(*args) == 2
    assert advice in capfd.readouterr().err


def test_http_of_a_demo_beyond_this_machine_needs_a_token(capfd):
    assert status_of("demo", "--http", "0.0.0.0:0") == 2
    assert "GREEKS_API_TOKEN" in capfd.readouterr().err


def test_without_a_home_the_embedded_server_needs_a_directory(monkeypatch, capfd):
    def no_home(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setattr(Path, "expanduser", no_home)

    assert status_of("serve", "--embedded") == 2
    assert "set --data-dir to a directory" in capfd.readouterr().err


def test_serve_ends_by_no_hangup_while_it_starts(monkeypatch):
    before = signal.getsignal(signal.SIGHUP)
    handlers = []

    def run_serve(*args, **options):
        handlers.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr("greeks_trio.commands.serve.run_serve", run_serve)
    try:
        assert status_of("serve") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert callable(handlers[0])
