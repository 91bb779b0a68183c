"""The file of a fleet: all its problems at once, and how the settings of places combine."""

from __future__ import annotations

import os

import pytest

from greeks_trio.errors import ConfigError
from greeks_trio.fleet.output import named_line
from greeks_trio.fleet.planner import load_fleet

TWO = """
[services.a.settings]
IBKR_ENABLED = true
[services.b.settings]
IBKR_ENABLED = true
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes the file and returns its path."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    def write(text, mode=0o600):
        path = tmp_path / "fleet.toml"
        path.touch(mode=mode)
        path.write_text(text)
        return path

    return write


def problems_of(path):
    with pytest.raises(ConfigError) as caught:
        load_fleet(path)
    return [each.replace(str(path), "FILE") for each in caught.value.problems]


def test_each_service_has_a_schema_and_a_spool_of_its_own_by_default(write):
    plan = load_fleet(write(TWO))

    schemas = [each.config.database.schema for each in plan.services.values()]
    assert (list(plan.services), schemas) == (["a", "b"], ["a", "b"])
    assert plan.config.database.schema == "fleet"
    assert (plan.http.host, plan.http.port) == ("127.0.0.1", 8070)
    environment = plan.services["a"].environment(5001)
    assert environment["GREEKS_HTTP_BIND"] == "127.0.0.1:5001"
    assert environment["GREEKS_ENV_FILE"] == os.devnull


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[services", "FILE is not valid TOML: "),
        ("", "FILE has no service; write a table such as [services.desk_a] for each."),
        (
            TWO + "[service.c]\n",
            "'service' in FILE is not known (services?); the file has [settings],",
        ),
        (
            "[services.Desk]\n",
            "[services.Desk] in FILE: the name of a service has lower-case letters,",
        ),
        ("services.a = 1\n", "[services.a] in FILE is no table; write [services.a]."),
        (
            "[services.a]\nIBKR_ENABLED = true\n",
            "IBKR_ENABLED ([services.a] in FILE) is not known; write it below "
            "[services.a.settings]",
        ),
        (
            "[services.a.settings]\nIBKR_ENABLE = true\n",
            "IBKR_ENABLE (in [services.a.settings] of FILE) is not a setting; "
            "IBKR_ENABLED is one.",
        ),
        (
            "[settings]\nGREEKS_ENV_FILE = 'x'\n" + TWO,
            "GREEKS_ENV_FILE (in [settings] of FILE) has no effect there; write env_file",
        ),
        (
            "[settings]\nIBKR_ACCOUNTS = {}\n" + TWO,
            "IBKR_ACCOUNTS (in [settings] of FILE) has to be a text, a number,",
        ),
        (
            "[services.a]\nenv_file = 'no.env'\n",
            "service a: env_file in FILE names HERE/no.env, which cannot be read (No such "
            "file or directory); correct the path.",
        ),
        (
            "[services.a.settings]\nPOSTGRES_PORT = 'many'\nIBKR_ENABLED = true\n",
            "service a: POSTGRES_PORT (set in [services.a.settings] of FILE) ",
        ),
        (
            "[services.a]\n",
            "service a: no broker is enabled; write IBKR_ENABLED = true or "
            "TASTYTRADE_ENABLED = true below [services.a.settings] in FILE.",
        ),
        (
            "[settings]\nGREEKS_DB_SCHEMA = 'x'\n" + TWO,
            "services a and b write to the same schema of the same database (x in "
            "portfolio_engine at localhost:5432); give each a GREEKS_DB_SCHEMA",
        ),
        (
            "[settings]\nGREEKS_SPOOL_DIR = 'HERE/s'\n" + TWO,
            "services a and b have the same spool directory (HERE/s); give each a",
        ),
        (
            "[settings]\nGREEKS_HTTP_BIND = '127.0.0.1:7000'\n" + TWO,
            "services a and b have the same HTTP port (7000); give each a",
        ),
        (
            "[fleet]\nGREEKS_HTTP_BIND = '127.0.0.1:7000'\n[services.a.settings]\n"
            "GREEKS_HTTP_BIND = '127.0.0.1:7000'\nIBKR_ENABLED = true\n",
            "service a and the fleet have the same HTTP port, 7000; change one",
        ),
        (
            "[services.fleet.settings]\nIBKR_ENABLED = true\n",
            "service fleet writes to the schema of the fleet's views (fleet in "
            "portfolio_engine at localhost:5432); give one of them another",
        ),
        (
            "[settings]\nGREEKS_HTTP_BIND = ''\n" + TWO,
            "service a and 1 more: GREEKS_HTTP_BIND (set in [settings] of FILE) is empty, and a "
            "fleet asks its services over HTTP; remove the line.",
        ),
        (
            "[fleet]\nGREEKS_HTTP_BIND = '0.0.0.0:7000'\n" + TWO,
            "[fleet]: GREEKS_API_TOKEN is not set: GREEKS_HTTP_BIND is 0.0.0.0, which",
        ),
        (
            "[settings]\nTT_SECRET_FILE = 'HERE/none'\n" + TWO,
            "[fleet] and 2 more: TT_SECRET_FILE (set in [settings] of FILE) names HERE/none, which "
            "cannot be read (No such file or directory)",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_remedy(write, text, problem):
    path = write("")
    path.write_text(text.replace("HERE", str(path.parent)))

    found = problems_of(path)

    problem = problem.replace("HERE", str(path.parent))
    assert any(each.startswith(problem) for each in found), found


def test_all_problems_are_told_at_once_without_a_secret(write):
    found = problems_of(
        write(
            "[settings]\nPOSTGRES_PASSWORD = 'very-secret'\nPOSTGRES_PORT = 'x'\n"
            "[services.a.settings]\nTT_SECRET = [{a = 'very-secret'}]\nX = 1\n"
            "[services.b]\nother = 1\n"
        )
    )

    starts = (
        "TT_SECRET (in [services.a.settings]",
        "X (in [services.a.settings]",
        "other ([services.b] in",
        "[fleet] and 2 more: POSTGRES_PORT (set in [settings]",
    )
    assert len(found) == len(starts), found
    for each, start in zip(found, starts, strict=True):
        assert each.startswith(start), each
    assert "very-secret" not in "".join(found)


def test_the_place_that_is_nearer_to_the_service_wins(write, tmp_path, monkeypatch):
    """Only the settings that the service cannot read itself are handed over."""
    monkeypatch.setenv("POSTGRES_USER", "outer")
    monkeypatch.setenv("POSTGRES_DB", "outer")
    monkeypatch.setenv("GREEKS_ENV_FILE", "/nowhere")
    (tmp_path / "password").write_text("of the service")
    (tmp_path / "a.env").write_text(
        "POSTGRES_DB=own\nPOSTGRES_PORT=1\nIBKR_ENABLED=true\nGREEKS_DB_SCHEMA=mine\n"
    )
    path = write(
        "[settings]\nPOSTGRES_DB = 'common'\nPOSTGRES_PORT = 2\n"
        "POSTGRES_PASSWORD = 'common-password'\n"
        "[services.a]\nenv_file = 'a.env'\n[services.a.settings]\nPOSTGRES_PORT = 3\n"
        f"POSTGRES_PASSWORD_FILE = '{tmp_path / 'password'}'\n"
    )

    plan = load_fleet(path).services["a"]

    database = plan.config.database
    assert (database.user, database.dbname, database.ports) == ("outer", "own", (3,))
    assert database.password.reveal() == "of the service"
    assert database.schema == "mine"
    environment = plan.environment(5001)
    assert environment["POSTGRES_PORT"] == "3"
    assert environment["GREEKS_ENV_FILE"] == str(tmp_path / "a.env")
    # They would win over the file, which SIGHUP reads again.
    for name in ("POSTGRES_DB", "POSTGRES_PASSWORD", "GREEKS_DB_SCHEMA"):
        assert name not in environment


def test_a_file_with_secrets_that_others_can_read_is_warned_about(write):
    path = write("[settings]\nPOSTGRES_PASSWORD = 'very-secret'\n" + TWO)
    path.chmod(0o644)

    [warning] = load_fleet(path).warnings

    assert f"can read {path}, which holds POSTGRES_PASSWORD; run chmod 600" in warning
    path.chmod(0o600)
    assert load_fleet(path).warnings == []
    assert "very-secret" not in repr(load_fleet(path))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("2026-01-31 INFO a.b c=1", "[desk] 2026-01-31 INFO a.b c=1"),
        ("time=2026 level=INFO", "service=desk time=2026 level=INFO"),
        ('{"time":"2026"}', '{"service":"desk","time":"2026"}'),
        ("{odd", "[desk] {odd"),
    ],
)
def test_a_line_of_a_service_has_its_name_in_every_form_of_the_log(line, named):
    assert named_line("desk", line) == named
