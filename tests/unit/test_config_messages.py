"""Each message about a wrong setting names the fault, its place and a remedy."""

from __future__ import annotations

import pytest

from greeks_trio.config.load import Override, load_config
from greeks_trio.config.parse import parse_config
from greeks_trio.errors import ConfigError

NEEDED = {
    "IBKR_ENABLED": "true",
    "TASTYTRADE_ENABLED": "true",
    "TT_SECRET": "x",
    "TT_REFRESH": "x",
}
API_URL = "https://HOST:PORT/v1/api"
WS_URL = "wss://HOST:PORT/PATH"
BIND = "use HOST:PORT such as 127.0.0.1:8080 or [::1]:8080; port 0 means any free port"
SYMBOLS = (
    "use symbols of options and futures options separated by commas; a symbol for one "
    "broker has ibkr: or tastytrade: in front, such as SPY261218C00600000,"
    "./EX3 270219C7100,ibkr:SPXW261218P06000000"
)
NOT_A_HOST = (
    "is not a host; write only the name or the address of the server, the other parts "
    "of a URL have variables of their own"
)
CREDENTIALS = "holds a user or a password; credentials have variables of their own"
GRANT = (
    "create an OAuth application and a grant at my.tastytrade.com (Manage, My Profile, "
    "API)"
)
TOKEN = (
    "GREEKS_HTTP_BIND is 0.0.0.0, which other machines can reach, so choose a long "
    "random text, or bind 127.0.0.1"
)

MESSAGES = [
    ("POSTGRES_PORT", "0", "is '0'; use a whole number from 1 to 65535"),
    ("POSTGRES_PORT", "65536", "is '65536'; use a whole number from 1 to 65535"),
    ("POSTGRES_PORT", "5432.0", "is '5432.0'; use a whole number from 1 to 65535"),
    (
        "POSTGRES_SSLMODE",
        "sure",
        "is 'sure'; use disable, allow, prefer, require, verify-ca or verify-full",
    ),
    ("POSTGRES_HOST", "postgres://me:pa55@db/x", NOT_A_HOST),
    (
        "POSTGRES_DB",
        "postgresql://me:pa55@db/x",
        "is a connection string; write only the name, the other parts have variables of "
        "their own",
    ),
    (
        "POSTGRES_USER",
        "user=me password=pa55",
        "is a connection string; write only the name, the other parts have variables of "
        "their own",
    ),
    (
        "TT_SECRET",
        "pa55\r",
        "begins or ends with a space or a line break; remove it",
    ),
    ("TT_REFRESH", "pa\x0055", "holds a control character; copy it again"),
    (
        "POSTGRES_HOST",
        "db1,,db2",
        "has a comma without a host; write one between two commas",
    ),
    *(
        (
            "POSTGRES_HOST",
            text,
            "has a port or brackets; write only the host, and an IPv6 address without "
            "brackets; the ports have a variable of their own",
        )
        for text in ("db1:5433,db2:5433", "[::1]", "db1,[::1]:5433")
    ),
    # On a search_path it is the name of the role.
    (
        "GREEKS_DB_SCHEMA",
        "$user",
        "is '$user'; use the name of a schema, at most 63 bytes, without pg_ at its "
        "beginning, and not $user",
    ),
    (
        "POSTGRES_PORT",
        "5432,5433",
        "has 2 ports, and POSTGRES_HOST has 1 host; write one port for each host in the "
        "same order, or one for all",
    ),
    ("POSTGRES_PORT", "5432,", "is ''; use a whole number from 1 to 65535"),
    ("POSTGRES_HOST", "db\u202e", "holds a control character; copy it again"),
    (
        "IBKR_API_URL",
        "https://gate\u200bway:5000/v1/api",
        "holds a space or a control character; copy it again",
    ),
    (
        "TASTYTRADE_STREAMER_URL",
        "wss://streamer.example/a\x1bb",
        "holds a space or a control character; copy it again",
    ),
    ("IBKR_ENABLED", "maybe", "is 'maybe'; use true or false"),
    ("IBKR_COMPETE", "2", "is '2'; use true or false"),
    (
        "IBKR_API_URL",
        "https://gateway:5000",
        f"does not end in /v1/api; write {API_URL}",
    ),
    (
        "IBKR_API_URL",
        "http://gateway:5000/v1/api",
        "is not encrypted; use https://, or an address of this machine",
    ),
    ("IBKR_API_URL", "https://gateway:x/v1/api", f"is not a URL; write {API_URL}"),
    ("IBKR_API_URL", "https://me:pa55@gateway/v1/api", CREDENTIALS),
    (
        "IBKR_API_URL",
        "https://gateway/v1/api?pa55",
        "holds a query or a fragment; write only the address",
    ),
    ("IBKR_API_URL", "https://[::1/v1/api", f"is not a URL; write {API_URL}"),
    (
        "IBKR_WS_URL",
        "https://localhost:5000/v1/api/ws",
        f"is not a URL of this kind; write {WS_URL}",
    ),
    (
        "IBKR_WS_URL",
        "ws://10.0.0.1/v1/api/ws",
        "is not encrypted; use wss://, or an address of this machine",
    ),
    (
        "GREEKS_IBKR_MARKET_DATA_LINES",
        "0",
        "is '0'; use a whole number from 1 to 100000",
    ),
    (
        "GREEKS_IBKR_SILENCE_S",
        "10",
        "is '10'; use a number of seconds from 11 to 3600",
    ),
    (
        "GREEKS_POSITIONS_INTERVAL_S",
        "nan",
        "is 'nan'; use a number of seconds from 1 to 86400",
    ),
    (
        "GREEKS_POSITIONS_INTERVAL_S",
        "inf",
        "is 'inf'; use a number of seconds from 1 to 86400",
    ),
    (
        "GREEKS_DRAIN_TIMEOUT_S",
        "-1",
        "is '-1'; use a number of seconds from 0 to 3600",
    ),
    ("GREEKS_BATCH_ROWS", "1e3", "is '1e3'; use a whole number from 1 to 100000"),
    (
        "GREEKS_BACKLOG_MAX_BYTES",
        "10",
        "is '10'; use a whole number of bytes from 1048576 to 1099511627776",
    ),
    (
        "GREEKS_SPOOL_AFTER_MS",
        "soon",
        "is 'soon'; use a number of milliseconds from 0 to 60000",
    ),
    ("GREEKS_HTTP_BIND", "8080", f"is '8080'; {BIND}"),
    ("GREEKS_HTTP_BIND", "::1:8080", f"is '::1:8080'; {BIND}"),
    ("GREEKS_HTTP_BIND", "localhost:99999", f"is 'localhost:99999'; {BIND}"),
    ("GREEKS_HTTP_BIND", "localhost:-1", f"is 'localhost:-1'; {BIND}"),
    ("GREEKS_LOG_JSON", "json", "is 'json'; use true or false"),
    ("GREEKS_LOG_LEVEL", "LOUD", "is 'LOUD'; use DEBUG, INFO, WARNING or ERROR"),
    (
        "GREEKS_WATCHLIST",
        "SPY,ibkr:",
        "holds 'SPY', which names no option; 'ibkr:', which names no option; "
        f"{SYMBOLS}",
    ),
    (
        "GREEKS_WATCHLIST",
        "ibkr:702",
        "holds 'ibkr:702', which is a broker's own id and not the symbol of an option; "
        f"{SYMBOLS}",
    ),
    (
        "GREEKS_WATCHLIST",
        "acme:./EX3 270219C7100",
        "holds 'acme:./EX3 270219C7100', which begins with no broker (ibkr, tastytrade); "
        f"{SYMBOLS}",
    ),
    ("TT_SECRET", "", f"is empty: {GRANT}"),
    (
        "IBKR_CA_FILE",
        "/no/ca.pem",
        "is '/no/ca.pem', and there is no such file; correct the path",
    ),
]


def problems_of(env, **options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(env, **options)
    return caught.value.problems


@pytest.mark.parametrize(("name", "value", "message"), MESSAGES)
def test_a_wrong_value_has_its_message_without_the_password_in_it(name, value, message):
    problems = problems_of({**NEEDED, name: value}, is_file=lambda _: False)

    assert problems == [f"{name} {message}."]
    assert "pa55" not in message


def test_a_setting_that_is_needed_and_not_set_has_a_message():
    problems = problems_of({"TASTYTRADE_ENABLED": "true"})

    assert problems == [
        f"TT_SECRET is not set: {GRANT}.",
        f"TT_REFRESH is not set: {GRANT}.",
    ]


def test_an_address_that_others_can_reach_needs_a_token():
    problems = problems_of({**NEEDED, "GREEKS_HTTP_BIND": "0.0.0.0:80"})

    assert problems == [f"GREEKS_API_TOKEN is not set: {TOKEN}."]


def test_a_token_that_can_be_guessed_is_refused_where_others_can_reach_it():
    token = {"GREEKS_API_TOKEN": "x" * 15}

    problems = problems_of({**NEEDED, **token, "GREEKS_HTTP_BIND": "0.0.0.0:80"})

    assert problems == [
        "GREEKS_API_TOKEN has fewer than 16 characters, and GREEKS_HTTP_BIND is 0.0.0.0, "
        "which other machines can reach; choose a long random text."
    ]
    assert parse_config({**NEEDED, **token}).http is not None


def test_without_a_broker_the_message_names_both_and_the_demo():
    assert problems_of({}) == [
        "No broker is enabled: run 'greeks-trio init', which asks for the settings, or "
        "set IBKR_ENABLED=true or TASTYTRADE_ENABLED=true in .env or in the "
        "environment, or run 'greeks-trio demo', which needs no account."
    ]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_on_load(overrides=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides or {})
    return caught.value.problems


def test_a_message_says_where_the_variable_was_set(directory, monkeypatch):
    (directory / ".env").write_text(
        "IBKR_ENABLED=true\nPOSTGRES_PORT=x\nGREEKS_LOG_JSON=x\n"
    )
    monkeypatch.setenv("GREEKS_LOG_JSON", "y")
    overrides = {"GREEKS_HTTP_BIND": Override("z", "--http")}

    assert problems_on_load(overrides) == [
        f"POSTGRES_PORT (set in {directory}/.env) is 'x'; use a whole number from 1 to "
        "65535.",
        f"GREEKS_HTTP_BIND (set by --http) is 'z'; {BIND}.",
        "GREEKS_LOG_JSON (set in the environment) is 'y'; use true or false.",
    ]


def test_a_message_names_the_file_that_the_environment_names(directory, monkeypatch):
    (directory / "other").write_text("IBKR_ENABLED=x\n")
    monkeypatch.setenv("GREEKS_ENV_FILE", "other")

    assert problems_on_load() == [
        f"IBKR_ENABLED (set in {directory}/other) is 'x'; use true or false."
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=\xff\xfe", "is not UTF-8 text (byte 2); save it as UTF-8."),
        (None, "cannot be read (Is a directory); make it readable or remove it."),
    ],
)
def test_a_file_that_cannot_be_read_has_a_message(directory, content, message):
    if content is None:
        (directory / ".env").mkdir()
    else:
        (directory / ".env").write_bytes(content)

    assert problems_on_load() == [f"{directory}/.env {message}"]


def test_a_named_file_that_is_not_there_has_a_message(directory, monkeypatch):
    monkeypatch.setenv("GREEKS_ENV_FILE", "missing")

    assert problems_on_load() == [
        "GREEKS_ENV_FILE (set in the environment) names missing, which cannot be read "
        "(No such file or directory); correct the path."
    ]
