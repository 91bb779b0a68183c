from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import (
    VARIABLES,
    Config,
    HttpConfig,
    IbkrConfig,
    PipelineConfig,
    Secret,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.errors import ConfigError

IBKR = {"IBKR_ENABLED": "true"}
TASTYTRADE = {"TASTYTRADE_ENABLED": "yes", "TT_SECRET": "s3cret", "TT_REFRESH": "r3f"}


def problems_of(env, **options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(env, **options)
    return caught.value.problems


def test_the_defaults_are_those_of_the_declarations():
    config = parse_config(IBKR)

    assert config == Config(ibkr=IbkrConfig())
    assert config.database.server.host == "localhost"
    assert config.database.server.port == 5432
    assert config.database.user == "portfolio"
    assert config.database.dbname == "portfolio_engine"


def test_an_empty_value_is_the_default_and_an_empty_password_is_one():
    config = parse_config(
        {**IBKR, "POSTGRES_HOST": "", "POSTGRES_PASSWORD": "", "IBKR_CA_FILE": " "}
    )

    assert config.database.server.host == "localhost"
    assert config.database.password == Secret("")
    assert config.ibkr == IbkrConfig()


def test_every_variable_arrives_in_its_field():
    config = parse_config(
        {
            "POSTGRES_HOST": "db.example",
            "POSTGRES_PORT": "5433",
            "POSTGRES_USER": "me",
            "POSTGRES_PASSWORD": " p w ",
            "POSTGRES_DB": "greeks",
            "POSTGRES_SSLMODE": "Require",
            "POSTGRES_SSLROOTCERT": "/ca.pem",
            "GREEKS_DB_TIMEOUT_S": "2.5",
            **TASTYTRADE,
            "TASTYTRADE_API_URL": "http://127.0.0.1:9/",
            "TASTYTRADE_STREAMER_URL": "ws://localhost:10",
            "TASTYTRADE_ACCOUNTS": "A, B,A",
            "IBKR_ENABLED": "1",
            "IBKR_API_URL": "https://gateway:5001/v1/api/",
            "IBKR_CA_FILE": "/gateway.pem",
            "IBKR_ACCOUNTS": "U1",
            "IBKR_COMPETE": "yes",
            "GREEKS_IBKR_SILENCE_S": "45",
            "GREEKS_TASTYTRADE_SILENCE_S": "90",
            "GREEKS_POSITIONS_INTERVAL_S": "30",
            "GREEKS_IBKR_MARKET_DATA_LINES": "250",
            "GREEKS_HTTP_BIND": "[::1]:0",
            "GREEKS_API_TOKEN": "t0ken",
            "GREEKS_LATENCY_SLO_MS": "20",
            "GREEKS_STALE_AFTER_S": "60",
            "GREEKS_DRAIN_TIMEOUT_S": "1",
            "GREEKS_INTAKE_FRAMES": "7",
            "GREEKS_BATCH_ROWS": "8",
            "GREEKS_BACKLOG_MAX_BYTES": "9000000",
            "GREEKS_SPOOL_DIR": "/var/spool/greeks",
            "GREEKS_SPOOL_MAX_BYTES": "10000000",
            "GREEKS_SPOOL_AFTER_MS": "25",
            "GREEKS_LOG_JSON": "on",
            "GREEKS_LOG_LEVEL": "debug",
        }
    )

    assert (config.database.server.host, config.database.server.port) == (
        "db.example",
        5433,
    )
    assert (config.database.user, config.database.dbname) == ("me", "greeks")
    assert config.database.password.reveal() == " p w "
    assert config.database.sslmode == "require"
    assert config.database.sslrootcert == Path("/ca.pem")
    assert config.database.timeout_s == 2.5
    assert config.ibkr == IbkrConfig(
        api_url="https://gateway:5001/v1/api",
        ws_url="wss://gateway:5001/v1/api/ws",
        ca_file=Path("/gateway.pem"),
        accounts=("U1",),
        positions_interval_s=30.0,
        market_data_lines=250,
        compete=True,
        silence_limit_s=45.0,
    )
    assert config.tastytrade == TastytradeConfig(
        secret=Secret("s3cret"),
        refresh=Secret("r3f"),
        api_url="http://127.0.0.1:9",
        streamer_url="ws://localhost:10",
        accounts=("A", "B"),
        positions_interval_s=30.0,
        silence_limit_s=90.0,
    )
    assert config.http == HttpConfig(host="::1", port=0, token=Secret("t0ken"))
    assert config.pipeline == PipelineConfig(
        intake_frames=7,
        batch_rows=8,
        backlog_max_bytes=9_000_000,
        drain_timeout_s=1.0,
        latency_slo_ms=20.0,
        stale_after_s=60.0,
    )
    assert config.spool == SpoolConfig(
        directory=Path("/var/spool/greeks"), max_bytes=10_000_000, after_ms=25.0
    )
    assert config.log_json
    assert config.log_level == "DEBUG"


def test_the_scheme_of_a_url_may_be_in_capitals():
    config = parse_config(
        {"IBKR_ENABLED": "true", "IBKR_API_URL": "HTTPS://gateway/v1/api/"}
    )

    assert config.ibkr.api_url == "https://gateway/v1/api"
    assert config.ibkr.ws_url == "wss://gateway/v1/api/ws"


def test_all_problems_are_reported_at_once():
    problems = problems_of(
        {
            "POSTGRES_PORT": "0",
            "TASTYTRADE_ENABLED": "true",
            "GREEKS_DB_TIMEOUT_S": "soon",
            "GREEKS_WATCHLIST": "SPY",
        }
    )

    assert [problem.split()[0] for problem in problems] == [
        "POSTGRES_PORT",
        "GREEKS_DB_TIMEOUT_S",
        "TT_SECRET",
        "TT_REFRESH",
        "GREEKS_WATCHLIST",
    ]
    assert all(problem.endswith(".") for problem in problems)


def test_a_command_may_need_no_broker():
    assert parse_config({}, need_broker=False).ibkr is None


def test_a_broker_that_is_not_enabled_has_no_problems():
    env = {**IBKR, "TASTYTRADE_API_URL": "nonsense"}

    assert parse_config(env).tastytrade is None


def test_a_setting_of_all_brokers_is_checked_also_without_a_broker():
    problems = problems_of({"GREEKS_WATCHLIST": "SPY"}, need_broker=False)

    assert [problem.split()[0] for problem in problems] == ["GREEKS_WATCHLIST"]


def test_a_limit_of_http_is_checked_also_while_http_is_off():
    env = {**IBKR, "GREEKS_HTTP_BIND": "", "GREEKS_HTTP_MAX_READS": "0"}

    assert [problem.split()[0] for problem in problems_of(env)] == [
        "GREEKS_HTTP_MAX_READS"
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "[::]", "example.org"])  # noqa: S104
def test_http_beyond_this_machine_needs_a_token(host):
    [problem] = problems_of({**IBKR, "GREEKS_HTTP_BIND": f"{host}:80"})

    assert problem.startswith("GREEKS_API_TOKEN ")


@pytest.mark.parametrize("bind", ["127.0.0.1:80", "localhost:80", "[::1]:80"])
def test_http_on_this_machine_needs_no_token(bind):
    assert parse_config({**IBKR, "GREEKS_HTTP_BIND": bind}).http is not None


def test_an_empty_address_turns_http_off():
    assert parse_config({**IBKR, "GREEKS_HTTP_BIND": ""}).http is None


@pytest.mark.parametrize(
    ("host", "sslmode"),
    [
        ("localhost", "prefer"),
        ("127.0.0.1", "prefer"),
        ("::1", "prefer"),
        ("/run/postgresql", "prefer"),
        ("db.example", "verify-full"),
        ("10.0.0.1", "verify-full"),
        ("localhost,127.0.0.1", "prefer"),
        ("localhost,db.example", "verify-full"),
    ],
)
def test_a_database_on_another_machine_is_verified_by_default(host, sslmode):
    assert parse_config({**IBKR, "POSTGRES_HOST": host}).database.sslmode == sslmode


@pytest.mark.parametrize(
    ("hosts", "ports", "servers"),
    [
        ("db1, db2", "5433", [("db1", 5433), ("db2", 5433)]),
        ("db1,db1", "5432, 5433", [("db1", 5432), ("db1", 5433)]),
        ("::1,/run/postgresql", "", [("::1", 5432), ("/run/postgresql", 5432)]),
    ],
)
def test_several_servers_have_a_port_each_or_one_for_all(hosts, ports, servers):
    database = parse_config(
        {**IBKR, "POSTGRES_HOST": hosts, "POSTGRES_PORT": ports}
    ).database

    assert list(database.servers) == servers


def test_servers_are_written_with_their_ports():
    config = {**IBKR, "POSTGRES_HOST": "db1,::1,/run/pg", "POSTGRES_PORT": "1,2,3"}

    assert parse_config(config).database.place == "db1:1,[::1]:2,/run/pg"


@pytest.mark.parametrize(
    ("api", "streamer"),
    [
        ("https://api.tastyworks.com", "wss://streamer.tastyworks.com"),
        ("https://api.tastyworks.com/", "wss://streamer.tastyworks.com"),
        ("https://api.cert.tastyworks.com", "wss://streamer.cert.tastyworks.com"),
        ("https://localhost:1234", None),
        ("https://api.example.org", None),
    ],
)
def test_only_tastytrades_own_addresses_have_a_default_streamer(api, streamer):
    config = parse_config({**TASTYTRADE, "TASTYTRADE_API_URL": api})

    assert config.tastytrade is not None
    assert config.tastytrade.streamer_url == streamer


def test_a_watched_contract_goes_to_its_broker_or_to_both():
    config = parse_config(
        {
            **IBKR,
            **TASTYTRADE,
            "GREEKS_WATCHLIST": "SPY   261218C00600000, ibkr:spxw261218p06000000,"
            "tastytrade:AAPL261218C00300000,SPY261218C00600000",
        }
    )

    assert config.ibkr is not None
    assert config.ibkr.watchlist == ("SPY   261218C00600000", "SPXW  261218P06000000")
    assert config.tastytrade is not None
    assert config.tastytrade.watchlist == (
        "SPY   261218C00600000",
        "AAPL  261218C00300000",
    )


@pytest.mark.parametrize(
    "item",
    [
        *("SPY", "schwab:SPY261218C00600000", "SPY261318C00600000", "ibkr:"),
        *("ibkr:702", "702", "ibkr:ibkr:702", "tastytrade:BTC/USD", "/ESZ27", "RY:CAD"),
        *("./EX3H27C7100:XCME", "./LOM7270514P56", "ibkr:./EX3"),
    ],
)
def test_a_wrong_watch_list_names_the_item(item):
    [problem] = problems_of({**IBKR, "GREEKS_WATCHLIST": f"SPY261218C00600000,{item}"})

    assert repr(item) in problem


@pytest.mark.parametrize(
    ("item", "key", "brokers"),
    [
        ("./EW2 270312C7050", "./EW2 270312C7050", {"ibkr", "tastytrade"}),
        ("ibkr:./EW2 270312C7050", "./EW2 270312C7050", {"ibkr"}),
        ("Tastytrade: ./ew2270312c7050", "./EW2 270312C7050", {"tastytrade"}),
        ("tastytrade:./ESH7 EW2H7 270312C7050", "./EW2 270312C7050", {"tastytrade"}),
        ("IBKR:./CLM7 LOM7  270514P-5", "./LO  270514P-5", {"ibkr"}),
        ("./MNQZ6D3AX6 261116C25100", "./D3A 261116C25100", {"ibkr", "tastytrade"}),
        ("ibkr : .spx261218p6000", "SPX   261218P06000000", {"ibkr"}),
    ],
)
def test_the_watch_list_takes_options_of_every_kind_and_spelling(item, key, brokers):
    config = parse_config({**IBKR, **TASTYTRADE, "GREEKS_WATCHLIST": f"{item},"})

    lists = {"ibkr": config.ibkr, "tastytrade": config.tastytrade}
    assert {name for name, each in lists.items() if each.watchlist == (key,)} == brokers
    assert {name for name, each in lists.items() if each.watchlist} == brokers


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=30)))
def test_any_values_give_either_a_configuration_or_problems(env):
    problems = ["none"]
    try:
        parse_config(env)
    except ConfigError as exc:
        problems = exc.problems

    assert problems
