"""The configuration in the log, and the changes that need a restart."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.config.declaration import Applies
from greeks_trio.config.parse import parse_config
from greeks_trio.config.report import describe, needs_restart
from greeks_trio.config.settings import SETTINGS, VARIABLES

IBKR = {"IBKR_ENABLED": "true"}
TASTYTRADE = {"TASTYTRADE_ENABLED": "yes", "TT_SECRET": "s3cret", "TT_REFRESH": "r3f"}
RESTART_VARIABLES = {
    each.variable for each in SETTINGS if each.applies is Applies.RESTART
}


def test_secrets_never_show():
    env = {**TASTYTRADE, "POSTGRES_PASSWORD": "pa55", "GREEKS_API_TOKEN": "t0ken"}

    config = parse_config(env)

    for text in (repr(config), str(config), str(describe(config))):
        for secret in ("s3cret", "r3f", "pa55", "t0ken"):
            assert secret not in text
    assert describe(config)["database.password"] == "***"
    assert describe(config)["ibkr"] == "off"


def test_a_setting_that_is_not_there_is_not_called_off():
    """Without this setting the spool is in its default directory."""
    described = describe(parse_config({**TASTYTRADE, "GREEKS_HTTP_BIND": ""}))

    assert described["spool.directory"] == described["database.sslrootcert"] == ""
    assert described["http"] == "off"


def test_a_configuration_does_not_need_a_restart_for_itself():
    config = parse_config({**IBKR, **TASTYTRADE})

    assert needs_restart(config, config) == []


CHANGED_VALUES = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "POSTGRES_USER": "x",
    "POSTGRES_PASSWORD": "x",
    "POSTGRES_DB": "x",
    "GREEKS_READ_HOST": "x",
    "GREEKS_READ_PORT": "7",
    "GREEKS_DB_SCHEMA": "x",
    "POSTGRES_SSLMODE": "require",
    "POSTGRES_REQUIRE_AUTH": "none",
    "POSTGRES_SSLROOTCERT": "/x",
    "IBKR_ENABLED": "false",
    "IBKR_API_URL": "https://localhost:1/v1/api",
    "IBKR_WS_URL": "wss://localhost:1",
    "IBKR_CA_FILE": "/x",
    "IBKR_ACCOUNTS": "x",
    "IBKR_COMPETE": "true",
    "TASTYTRADE_ENABLED": "false",
    "TT_SECRET": "x",
    "TT_REFRESH": "x",
    "TASTYTRADE_API_URL": "https://localhost:1",
    "TASTYTRADE_STREAMER_URL": "wss://localhost:1",
    "TASTYTRADE_ACCOUNTS": "x",
    "GREEKS_WATCHLIST": "SPY261218C00600000",
    "GREEKS_POSITIONS_INTERVAL_S": "7",
    "GREEKS_RISK_FREE_RATE": "0.07",
    "GREEKS_ESTIMATES": "true",
    "GREEKS_ACCOUNT_VALUES_S": "0",
    "GREEKS_MARKET_METRICS_S": "0",
    "GREEKS_BETAS_FILE": "betas.toml",
    "GREEKS_BENCHMARK": "QQQ",
    "GREEKS_ACCEPT_DELAYED": "true",
    "GREEKS_SOURCE_PAYLOAD": "off",
    "GREEKS_IBKR_MARKET_DATA_LINES": "7",
    "IBKR_ROTATION": "even",
    "GREEKS_IBKR_SILENCE_S": "77",
    "GREEKS_TASTYTRADE_SILENCE_S": "77",
    "GREEKS_HTTP_BIND": "127.0.0.1:1",
    "GREEKS_API_TOKEN": "x",
    "GREEKS_HTTP_MAX_READS": "7",
    "GREEKS_HTTP_READ_SHARE": "7",
    "GREEKS_HTTP_EXPORT_TIMEOUT_S": "7",
    "GREEKS_HTTP_MAX_EXPORTS": "7",
    "GREEKS_HTTP_READ_TIMEOUT_S": "7",
    "GREEKS_DB_TIMEOUT_S": "7",
    "GREEKS_CLOCK_LIMIT_S": "7",
    "GREEKS_LATENCY_SLO_MS": "7",
    "GREEKS_STALE_AFTER_S": "7",
    "GREEKS_DRAIN_TIMEOUT_S": "7",
    "GREEKS_INTAKE_FRAMES": "7",
    "GREEKS_BATCH_ROWS": "7",
    "GREEKS_BACKLOG_MAX_BYTES": "7000000",
    "GREEKS_SPOOL_DIR": "/spool",
    "GREEKS_SPOOL_MAX_BYTES": "7000000",
    "GREEKS_SPOOL_AFTER_MS": "7",
    "GREEKS_EMBEDDED_PORT": "7",
    "GREEKS_SPOOL_KEEP_S": "7",
    "GREEKS_LOG_JSON": "true",
    "GREEKS_KEEP_MONTHS": "7",
    "GREEKS_KEEP_PAYLOAD_MONTHS": "3",
    "GREEKS_ARCHIVE_DIR": "/archive",
    "GREEKS_DROP_WITHOUT_ARCHIVE": "true",
    "GREEKS_ALERT_URLS": "json://127.0.0.1/",
    "GREEKS_ALERTS_FILE": "alerts.toml",
    "GREEKS_ALERTS_INTERVAL_S": "9",
    "GREEKS_LOG_FORMAT": "logfmt",
    "GREEKS_LOG_LEVEL": "ERROR",
}


# Months that are not kept need a directory.
EVERYTHING = {**IBKR, **TASTYTRADE, "GREEKS_ARCHIVE_DIR": "/before"}


def test_every_setting_has_an_effect():
    before = EVERYTHING
    old = parse_config(before)

    assert CHANGED_VALUES.keys() == set(VARIABLES) - {"GREEKS_ENV_FILE"}
    for name, value in CHANGED_VALUES.items():
        assert parse_config({**before, name: value}, need_broker=False) != old, name


@given(st.sets(st.sampled_from(sorted(CHANGED_VALUES))))
def test_exactly_the_changes_that_a_reload_cannot_apply_need_a_restart(names):
    before = EVERYTHING
    after = {**before, **{name: CHANGED_VALUES[name] for name in names}}
    options = {"need_broker": False}

    needing = needs_restart(
        parse_config(before, **options), parse_config(after, **options)
    )

    assert set(needing) == names & RESTART_VARIABLES
    assert needing == sorted(needing, key=VARIABLES.index)


def test_turning_http_off_needs_a_restart():
    config = parse_config(IBKR)

    assert "GREEKS_HTTP_BIND" in needs_restart(config, replace(config, http=None))
