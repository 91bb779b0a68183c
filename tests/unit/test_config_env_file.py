"""The file with the settings: every line means something, or is named."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.config.env_file import Entry, env_line, read_env_file
from greeks_trio.config.load import load_config, read_config
from greeks_trio.errors import ConfigError


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".env"

    def write(text: str, *, mode: int = 0o600):
        path.write_bytes(text.encode())
        path.chmod(mode)
        return path

    return write


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config()
    return caught.value.problems


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A=b", "b"),
        ("export\tA = b ", "b"),
        ("A=", ""),
        ("A=b=c", "b=c"),
        ("A=b#c", "b#c"),
        ("A='b # c'", "b # c"),
        ('A=" b "', " b "),
        ("A='b' # a comment", "b"),
        ('A="it\'s"', "it's"),
        ("A='b'c'", "b'c"),
        ("A=b\u2028c", "b\u2028c"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_sets_a_variable(line, value, end):
    content = read_env_file(f"# comment\n\n{line}{end}")

    assert content.problems == []
    assert content.values == {"A": value}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")))
def test_a_value_that_is_written_is_read_back(value):
    try:
        line = env_line("A", value)
    except ValueError:
        assert "'" in value or '"' in value
        return
    assert read_env_file(line).entries == [Entry(1, "A", value)]


PATH = "PATH"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "IBKR_ACCOUNT=U1",
            f"IBKR_ACCOUNT (line 2 of {PATH}) is not a setting; IBKR_ACCOUNTS is one.",
        ),
        (
            "POSTGRES_SSL_MODE=disable",
            f"POSTGRES_SSL_MODE (line 2 of {PATH}) is not a setting; POSTGRES_SSLMODE "
            "is one.",
        ),
        (
            "ibkr_accounts=U1",
            f"ibkr_accounts (line 2 of {PATH}) is not a setting; IBKR_ACCOUNTS is one.",
        ),
        (
            "IBRK_ACCOUNTS=U1",
            f"IBRK_ACCOUNTS (line 2 of {PATH}) is not a setting; IBKR_ACCOUNTS is one.",
        ),
        (
            "POSTGRES_DATABASE=x",
            f"POSTGRES_DATABASE (line 2 of {PATH}) is not a setting; POSTGRES_DB is one.",
        ),
        (
            "TASTYTRADE_SECRET=pa55",
            f"TASTYTRADE_SECRET (line 2 of {PATH}) is not a setting; TT_SECRET is one.",
        ),
        (
            "IBKR-ACCOUNTS=U1",
            f"Line 2 of {PATH} has no valid name in front of '='; write NAME=VALUE, or "
            "remove it (IBKR_ACCOUNTS?).",
        ),
        (
            "GREEKS_ENV_FILE=other",
            f"GREEKS_ENV_FILE (line 2 of {PATH}) has no effect in a file; set it in the "
            "environment, or remove the line.",
        ),
        (
            "GREEKS_FORK=1",
            f"GREEKS_FORK (line 2 of {PATH}) is not a setting; correct the name or "
            "remove it.",
        ),
        (
            "POSTGRES_PASSWRD: pa55",
            f"Line 2 of {PATH} has no '=', so it sets nothing; write NAME=VALUE, or "
            "remove it (POSTGRES_PASSWORD?).",
        ),
        (
            "pa55",
            f"Line 2 of {PATH} has no '=', so it sets nothing; write NAME=VALUE, or "
            "remove it.",
        ),
        (
            "POSTGRES_USER: pa55=",
            f"Line 2 of {PATH} has no valid name in front of '='; write NAME=VALUE, or "
            "remove it (POSTGRES_USER?).",
        ),
        (
            "POSTGRES_PASSWORD=pa55 # the new one",
            f"Line 2 of {PATH} has a '#' after the value of POSTGRES_PASSWORD; write the "
            "comment on a line of its own, or the value in quotes if the '#' belongs to "
            "it.",
        ),
        (
            "POSTGRES_PASSWORD='pa55",
            f"Line 2 of {PATH} has a quote in front of the value of POSTGRES_PASSWORD "
            "that does not close; close it, or put other quotes around the whole value.",
        ),
        (
            "IBKR_ENABLED=true",
            f"IBKR_ENABLED (line 2 of {PATH}) is also set in line 1; remove one of the "
            "two lines.",
        ),
    ],
)
def test_a_line_that_means_nothing_is_a_problem_without_its_text(
    env_file, line, problem
):
    path = env_file(f"\ufeffIBKR_ENABLED=true\r\n{line}\r\n")

    problems = problems_of(line)

    assert problems == [problem.replace(PATH, str(path))]
    assert "pa55" not in problem


def test_names_of_other_programs_are_no_problem_and_named(env_file):
    path = env_file(
        "IBKR_ENABLED=true\nPOSTGRES_INITDB_ARGS=-A\nCOMPOSE_FILE=x\nTZ=UTC\n"
        "LOG_LEVEL=INFO\nDATABASE_URL=pa55\n"
    )

    assert read_config().warnings == [
        f"TZ (line 4 of {path}) is no setting and has no effect.",
        f"LOG_LEVEL (line 5 of {path}) is no setting and has no effect;"
        " GREEKS_LOG_LEVEL is a setting.",
        f"DATABASE_URL (line 6 of {path}) is no setting and has no effect; set"
        " POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.",
    ]


def test_variables_of_libpq_in_the_file_are_named(env_file):
    path = env_file("IBKR_ENABLED=true\nPGPASSWORD=pa55\nPGPORT=1\nPOSTGRES_PORT=2\n")

    assert read_config().warnings == [
        f"PGPASSWORD (line 2 of {path}) is not read; set POSTGRES_PASSWORD instead."
    ]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("GREEKS_HTTP_BLIND", "is not a setting; GREEKS_HTTP_BIND is one."),
        ("GREEKS_FORK", "is not a setting; correct the name or remove it."),
        ("IBKR_ACCOUNT", "is not a setting; IBKR_ACCOUNTS is one."),
        ("PGPASSWORD", "is not read; set POSTGRES_PASSWORD instead."),
        ("PGSERVICE", "is not read; set POSTGRES_HOST instead."),
        ("PGOPTIONS", "is not read; remove it."),
    ],
)
def test_a_doubtful_name_in_the_environment_is_a_warning(
    env_file, monkeypatch, caplog, name, warning
):
    env_file("IBKR_ENABLED=true\n")
    monkeypatch.setenv(name, "pa55")

    with caplog.at_level(logging.WARNING):
        load_config()

    assert caplog.messages == [
        f"config.doubtful {name} (set in the environment) {warning}"
    ]
    assert (name in os.environ) is not name.startswith("PG")  # libpq would read it


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (
            "POSTGRES_PASSWORD=pa55word",
            0o644,
            "which holds POSTGRES_PASSWORD; run chmod 600",
        ),
        ("POSTGRES_PASSWORD=pa55word", 0o640, None),
        ("POSTGRES_PASSWORD=", 0o644, None),
        ("POSTGRES_DB=x", 0o602, "Every user of this machine can change "),
        ('POSTGRES_PASSWORD=" pa55word"', 0o600, "begins or ends with a space"),
    ],
)
def test_a_secret_that_others_can_read_or_that_looks_odd_is_a_warning(
    env_file, text, mode, said
):
    env_file(f"IBKR_ENABLED=true\n{text}\n", mode=mode)

    warnings = read_config().warnings

    assert len(warnings) == (said is not None)
    assert all(said in each and "pa55word" not in each for each in warnings)


@pytest.mark.parametrize(
    "line",
    [
        "GREEKS_HTTP_BIND=me:pa55@0.0.0.0:80",
        "POSTGRES_PORT=5432/x?PassWord=pa55",
        "POSTGRES_SSLMODE=require&password=pa55",
        "IBKR_API_URL=htps://me:pa55@localhost",
    ],
)
def test_a_wrong_value_that_may_hold_a_password_is_not_shown(env_file, line):
    env_file(f"IBKR_ENABLED=true\n{line}\n")

    [problem] = problems_of(line)

    assert problem.startswith(line.partition("=")[0])
    assert "pa55" not in problem
