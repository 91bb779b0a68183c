"""Secrets in files of their own."""

from __future__ import annotations

import pytest

from greeks_trio.config.load import read_config
from greeks_trio.config.load_secrets import MAX_BYTES
from greeks_trio.config.names import SECRETS
from greeks_trio.errors import ConfigError


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASTYTRADE_ENABLED", "true")
    for name in ("TT_SECRET", "TT_REFRESH"):
        monkeypatch.setenv(name, "t0ken")
    return tmp_path


def problems() -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config()
    return caught.value.problems


def revealed(name: str) -> str:
    config = read_config().config
    return {
        "POSTGRES_PASSWORD": config.database.password,
        "TT_SECRET": config.tastytrade.secret,
        "TT_REFRESH": config.tastytrade.refresh,
        "GREEKS_API_TOKEN": config.http.token,
        "GREEKS_ALERT_URLS": config.alert_urls,
    }[name].reveal()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_may_be_in_a_file(directory, monkeypatch, name, end):
    (directory / "file").write_bytes(f"json://a{end}".encode())
    monkeypatch.delenv(name, raising=False)
    (directory / ".env").write_text(f"{name}_FILE=file\n")

    assert revealed(name) == "json://a"


@pytest.mark.parametrize("name", SECRETS)
def test_a_credential_of_systemd_needs_no_variable(directory, monkeypatch, name):
    (directory / name).write_text("json://a\n")
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))

    assert revealed(name) == "json://a"


def test_the_file_is_read_at_each_load(directory, monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", "file")
    (directory / "file").write_text("old")
    assert revealed("POSTGRES_PASSWORD") == "old"

    (directory / "file").write_text("new")

    assert revealed("POSTGRES_PASSWORD") == "new"


def test_a_secret_that_is_given_twice_is_a_problem(directory, monkeypatch):
    (directory / "file").write_text("json://a")
    monkeypatch.setenv("TT_SECRET_FILE", "file")

    assert problems() == [
        "TT_SECRET is set in the environment, and TT_SECRET_FILE (set in the "
        "environment) has it, too; remove one of the two."
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read (No such file or directory); correct the path or its"),
        (b"", "is empty; write the secret into it."),
        (b"\n", "is empty; write the secret into it."),
        (b"\xff", "is not UTF-8 text; save it as UTF-8."),
        (b"x" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes; it may hold"),
    ],
)
def test_a_file_without_a_secret_is_a_problem(directory, monkeypatch, content, fault):
    if content is not None:
        (directory / "file").write_bytes(content)
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", "file")

    [problem] = problems()

    expected = "POSTGRES_PASSWORD_FILE (set in the environment) names file, which "
    assert problem.startswith(expected + fault)
