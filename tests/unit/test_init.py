"""``init`` writes a file that the service can read, as a whole or not at all."""

from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from greeks_trio.commands import init
from greeks_trio.commands.init import InitOptions, run_init
from greeks_trio.commands.settings_form import Form, given_answers
from greeks_trio.config.load import read_config
from greeks_trio.config.names import SECRETS
from greeks_trio.errors import ConfigError


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checks(monkeypatch):
    """The settings that were checked; no check is run."""
    checked = []

    def check(_, load, options):
        checked.append((load().config, options))
        return 0

    monkeypatch.setattr(init, "run_trio", check)
    return checked


def written(pairs=(), *, answers=None, force=False, embedded=False, **switches) -> int:
    """Run ``init`` with these options, and with these lines as the user's input."""

    @click.command()
    def command():
        form = Form(given_answers(pairs, switches), embedded)
        options = InitOptions(
            form=form, file=None, asks=answers is not None, force=force
        )
        return run_init(options)

    result = CliRunner().invoke(
        command, input="\n".join(answers or []) + "\n", standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return result.return_value


ANSWERS = ["y", "db.example", "70000", "5433", "me", "p # w", "greeks"]
IBKR = ["y", "", "U1, U2"]
TASTYTRADE = ["y", "", "s3cret", "refresh", ""]


def test_the_answers_arrive_in_the_settings(checks, directory):
    assert written(answers=[*ANSWERS, *IBKR, *TASTYTRADE, "127.0.0.1:8081"]) == 0

    [(config, options)] = checks
    assert config.database.server.host == "db.example"
    assert (config.database.server.port, config.database.dbname) == (5433, "greeks")
    assert config.database.password.reveal() == "p # w"
    assert config.ibkr.accounts == ("U1", "U2")
    assert config.tastytrade.refresh.reveal() == "refresh"
    assert config.http.port == 8081
    assert not options.embedded
    assert (directory / ".env").stat().st_mode & 0o777 == 0o600
    assert read_config().config == config
    assert os.listdir(directory) == [".env"]


def test_the_bundled_database_needs_no_answers(checks):
    written(answers=["n", "y", "", "", "n", ""])

    [(config, options)] = checks
    assert options.embedded
    assert config.tastytrade is None


def test_an_address_that_others_can_reach_gets_a_token(checks):
    written(["GREEKS_HTTP_BIND=0.0.0.0:8080"], ibkr=True)

    [(config, _)] = checks
    assert len(config.http.token.reveal()) >= 32


@pytest.mark.parametrize("name", SECRETS)
def test_without_questions_secrets_come_from_the_environment(
    checks, monkeypatch, name, directory
):
    for each in ("TT_SECRET", "TT_REFRESH", name):
        monkeypatch.setenv(each, "from the environment")

    written(tastytrade=True)

    assert f"{name}=from the environment" in (directory / ".env").read_text()


def test_a_file_is_replaced_only_by_force(checks, directory):
    (directory / ".env").write_text("mine")

    with pytest.raises(ConfigError, match=r"exists\. Use --force"):
        written(ibkr=True)
    assert (directory / ".env").read_text() == "mine"

    assert written(ibkr=True, force=True) == 0
    assert read_config().config.ibkr is not None


def test_a_file_that_appears_during_the_questions_is_not_replaced(checks, directory):
    options = InitOptions(
        form=Form({"IBKR_ENABLED": "true"}), file=None, asks=False, force=False
    )

    class Late(Form):
        def take_environment(self):
            (directory / ".env").write_text("mine")

    options = InitOptions(
        form=Late({"IBKR_ENABLED": "true"}), file=None, asks=False, force=False
    )
    with pytest.raises(ConfigError, match="File exists"):
        run_init(options)

    assert (directory / ".env").read_text() == "mine"
    assert os.listdir(directory) == [".env"]


def test_a_link_is_not_followed(checks, directory):
    (directory / "other").write_text("mine")
    (directory / ".env").symlink_to("other")

    written(ibkr=True, force=True)

    assert (directory / "other").read_text() == "mine"
    assert not (directory / ".env").is_symlink()


def test_without_a_broker_the_options_are_named(checks, directory):
    with pytest.raises(ConfigError, match="use --ibkr or --tastytrade"):
        written(["POSTGRES_HOST=db"], ibkr=False)

    assert os.listdir(directory) == []


def test_questions_that_end_early_write_nothing(checks, directory):
    with pytest.raises(ConfigError, match="Without a terminal, use --yes"):
        written(answers=ANSWERS)

    assert os.listdir(directory) == []


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        ("IBKR_ACCOUNT=U1", "is not a setting; IBKR_ACCOUNTS is one."),
        ("TT_SECRET=pa55", "is a secret, and other users can read the arguments"),
        ("POSTGRES_PORT=x", "is 'x'; use a whole number from 1 to 65535."),
    ],
)
def test_an_option_that_is_wrong_is_named_and_nothing_is_written(
    checks, directory, pair, fault
):
    with pytest.raises(ConfigError) as caught:
        written([pair], ibkr=True)

    [problem] = caught.value.problems
    assert fault in problem
    assert "pa55" not in problem
    assert os.listdir(directory) == []


def test_without_a_broker_nothing_is_written(checks, directory):
    with pytest.raises(ConfigError, match="No broker is enabled"):
        written()

    assert os.listdir(directory) == []
