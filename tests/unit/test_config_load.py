from __future__ import annotations

import pytest

from greeks_trio.commands.outcome import configured
from greeks_trio.config.load import Override, load_config
from greeks_trio.errors import ConfigError
from greeks_trio.logs import configure_logging


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_without_a_file_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("IBKR_ENABLED", "true")

    assert load_config().ibkr is not None


def test_the_file_in_the_current_directory_is_read_on_each_call(tmp_path):
    file = tmp_path / ".env"
    file.write_text("IBKR_ENABLED=true\nPOSTGRES_DB = one\n")
    before = load_config()

    file.write_text("IBKR_ENABLED=true\nPOSTGRES_DB='two'\n# POSTGRES_DB=three\n")

    assert before.database.dbname == "one"
    assert load_config().database.dbname == "two"


def test_the_environment_wins_over_the_file_and_overrides_over_both(
    tmp_path, monkeypatch
):
    (tmp_path / ".env").write_text(
        "IBKR_ENABLED=true\nPOSTGRES_DB=file\nPOSTGRES_USER=file\nPOSTGRES_PORT=1\n"
    )
    monkeypatch.setenv("POSTGRES_USER", "environment")
    monkeypatch.setenv("POSTGRES_PORT", "2")

    database = load_config({"POSTGRES_PORT": Override("3", "--port")}).database

    assert (database.dbname, database.user, database.server.port) == (
        "file",
        "environment",
        3,
    )


def test_the_named_file_is_read_instead(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("IBKR_ENABLED=true\nPOSTGRES_DB=wrong\n")
    (tmp_path / "other").write_text("\ufeffIBKR_ENABLED=true\n", encoding="utf-8")
    monkeypatch.setenv("GREEKS_ENV_FILE", str(tmp_path / "other"))

    config = load_config()

    assert config.ibkr is not None
    assert config.database.dbname == "portfolio_engine"


def test_a_certificate_file_has_to_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setenv("IBKR_CA_FILE", "ca.pem")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        load_config()

    (tmp_path / "ca.pem").touch()

    assert load_config().ibkr is not None


def test_a_certificate_file_with_an_impossible_name_is_a_problem(monkeypatch):
    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setenv("IBKR_CA_FILE", "x" * 300)  # too long for a name

    with pytest.raises(ConfigError, match="no such file"):
        load_config()


@pytest.mark.parametrize(
    ("host", "sslmode", "warnings"),
    [
        ("db.example.com", "disable", 1),
        ("db.example.com", "require", 1),
        ("db.example.com", "verify-ca", 0),
        ("db.example.com", "", 0),
        ("127.0.0.1", "disable", 0),
        ("/run/postgresql", "disable", 0),
    ],
)
def test_a_database_elsewhere_that_is_not_verified_is_warned_about(
    caplog, monkeypatch, host, sslmode, warnings
):
    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setenv("POSTGRES_HOST", host)
    monkeypatch.setenv("POSTGRES_SSLMODE", sslmode)

    load_config()

    said = f"database.unverified host={host} sslmode={sslmode}"
    assert caplog.messages.count(said) == warnings == len(caplog.messages)


@pytest.mark.parametrize(
    ("sslmode", "warnings"), [("disable", 1), ("require", 1), ("", 0)]
)
def test_a_replica_elsewhere_that_is_not_verified_is_warned_about(
    caplog, monkeypatch, sslmode, warnings
):
    """Without the setting a replica on another machine is verified."""
    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setenv("GREEKS_READ_HOST", "replica.example")
    monkeypatch.setenv("POSTGRES_SSLMODE", sslmode)

    load_config()

    said = f"database.unverified host=replica.example,localhost sslmode={sslmode}"
    assert caplog.messages.count(said) == warnings == len(caplog.messages)


def test_the_first_line_of_the_log_has_the_form_of_the_settings(capsys, monkeypatch):
    monkeypatch.setenv("IBKR_ENABLED", "true")
    monkeypatch.setenv("GREEKS_LOG_FORMAT", "logfmt")
    monkeypatch.setenv("GREEKS_LOG_JSON", "true")  # the old name, so there is a warning
    try:
        configured(load_config)
        said = capsys.readouterr().err
    finally:
        configure_logging()

    assert said.startswith("time=")
    assert "event=config.doubtful" in said
