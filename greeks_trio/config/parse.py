"""Variables in, `Config` or all their problems out.  Pure.

`VARIABLES` are all names that anything here reads; ``.env.example`` explains them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeAlias

from greeks_trio.config.addresses import is_loopback, is_this_machine
from greeks_trio.config.settings import (
    Config,
    DatabaseConfig,
    HttpConfig,
    IbkrConfig,
    PipelineConfig,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.config.values import (
    Values,
    parse_bind,
    parse_names,
    parse_watchlist,
)
from greeks_trio.errors import ConfigError
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker

ENV_FILE_VARIABLE: Final = "GREEKS_ENV_FILE"

VARIABLES: Final = (
    ENV_FILE_VARIABLE,
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
    "POSTGRES_SSLMODE",
    "POSTGRES_SSLROOTCERT",
    "IBKR_ENABLED",
    "IBKR_API_URL",
    "IBKR_WS_URL",
    "IBKR_CA_FILE",
    "IBKR_ACCOUNTS",
    "IBKR_COMPETE",
    "TASTYTRADE_ENABLED",
    "TT_SECRET",
    "TT_REFRESH",
    "TASTYTRADE_API_URL",
    "TASTYTRADE_STREAMER_URL",
    "TASTYTRADE_ACCOUNTS",
    "GREEKS_WATCHLIST",
    "GREEKS_POSITIONS_INTERVAL_S",
    "GREEKS_IBKR_MARKET_DATA_LINES",
    "GREEKS_IBKR_SILENCE_S",
    "GREEKS_TASTYTRADE_SILENCE_S",
    "GREEKS_HTTP_BIND",
    "GREEKS_API_TOKEN",
    "GREEKS_HTTP_MAX_READS",
    "GREEKS_HTTP_MAX_EXPORTS",
    "GREEKS_HTTP_READ_TIMEOUT_S",
    "GREEKS_DB_TIMEOUT_S",
    "GREEKS_LATENCY_SLO_MS",
    "GREEKS_STALE_AFTER_S",
    "GREEKS_DRAIN_TIMEOUT_S",
    "GREEKS_INTAKE_FRAMES",
    "GREEKS_BATCH_ROWS",
    "GREEKS_BACKLOG_MAX_BYTES",
    "GREEKS_SPOOL_DIR",
    "GREEKS_SPOOL_MAX_BYTES",
    "GREEKS_SPOOL_AFTER_MS",
    "GREEKS_LOG_JSON",
    "GREEKS_LOG_LEVEL",
)

_ENABLING: Final = ("IBKR_ENABLED", "TASTYTRADE_ENABLED")

_SSLMODES: Final = (
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
)
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

# Tastytrade's own pairs.  Any other API address may be a simulator, and what it is
# told must not go to the real account streamer.
# Source: https://developer.tastytrade.com/streaming-account-data/
_STREAMER_OF_API: Final = {
    "https://api.tastyworks.com": "wss://streamer.tastyworks.com",
    "https://api.cert.tastyworks.com": "wss://streamer.cert.tastyworks.com",
}

_NO_BROKER: Final = (
    "No broker is enabled: copy .env.example to .env and set IBKR_ENABLED=true or "
    "TASTYTRADE_ENABLED=true there, or run 'bin/run-ingest demo' to see it work "
    "without an account."
)

_Watchlist: TypeAlias = Mapping[Broker, tuple[ContractKey, ...]]


def parse_config(
    env: Mapping[str, str],
    *,
    is_file: Callable[[Path], bool] = lambda _: True,
    need_broker: bool = True,
) -> Config:
    """Return what the variables say.

    Args:
        env: The variables; those that are absent or empty have their defaults.
        is_file: Whether a file that they name exists.
        need_broker: Whether it is a problem that no broker is enabled.

    Raises:
        ConfigError: with every problem, each one sentence without any secret.
    """
    values = Values(env, is_file)
    interval_s = values.number("GREEKS_POSITIONS_INTERVAL_S", 60.0, 1.0, 86_400.0)
    nothing: _Watchlist = {}
    watchlist = values.parsed("GREEKS_WATCHLIST", parse_watchlist, nothing)
    config = Config(
        database=_database(values),
        ibkr=_ibkr(values, interval_s, watchlist),
        tastytrade=_tastytrade(values, interval_s, watchlist),
        http=_http(values),
        pipeline=_pipeline(values),
        spool=_spool(values),
        log_json=values.flag("GREEKS_LOG_JSON", default=False),
        log_level=values.choice("GREEKS_LOG_LEVEL", "INFO", _LOG_LEVELS),
    )
    enabled = [values.flag(name, default=False) for name in _ENABLING]
    if need_broker and not any(enabled) and values.problem_free(*_ENABLING):
        values.problems.append(_NO_BROKER)
    if values.problems:
        raise ConfigError(list(dict.fromkeys(values.problems)))
    return config


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """Return a warning for each ``GREEKS_*`` name that nothing reads, sorted."""
    return [
        f"{name} is not a variable of this program{_suggestion(name)}."
        for name in sorted(env)
        if name.startswith("GREEKS_") and name not in VARIABLES
    ]


def _suggestion(name: str) -> str:
    similar = get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
    return f"; {similar[0]} is" if similar else ""


def _database(values: Values) -> DatabaseConfig:
    host = values.host("POSTGRES_HOST", "localhost")
    is_near = is_this_machine(host)
    return DatabaseConfig(
        host=host,
        port=values.integer("POSTGRES_PORT", 5432, 1, 65_535),
        user=values.text("POSTGRES_USER", "portfolio"),
        password=values.secret("POSTGRES_PASSWORD"),
        dbname=values.text("POSTGRES_DB", "portfolio_engine"),
        sslmode=values.choice(
            "POSTGRES_SSLMODE", "prefer" if is_near else "verify-full", _SSLMODES
        ),
        sslrootcert=values.file("POSTGRES_SSLROOTCERT"),
        timeout_s=values.number("GREEKS_DB_TIMEOUT_S", 5.0, 0.1, 600.0),
    )


def _ibkr(
    values: Values, interval_s: float, watchlist: _Watchlist
) -> IbkrConfig | None:
    if not values.flag("IBKR_ENABLED", default=False):
        return None
    api_url = values.url("IBKR_API_URL", "https://localhost:5000/v1/api", "http")
    if not api_url.endswith("/v1/api"):
        values.problem("IBKR_API_URL", "has to end in /v1/api")
    return IbkrConfig(
        api_url=api_url,
        # Who moves the gateway moves both: http becomes ws, https becomes wss.
        ws_url=values.url(
            "IBKR_WS_URL", f"{api_url}/ws".replace("http", "ws", 1), "ws"
        ),
        ca_file=values.file("IBKR_CA_FILE"),
        accounts=values.parsed("IBKR_ACCOUNTS", parse_names, ()),
        watchlist=watchlist.get("ibkr", ()),
        positions_interval_s=interval_s,
        market_data_lines=values.integer(
            "GREEKS_IBKR_MARKET_DATA_LINES", 100, 1, 100_000
        ),
        compete=values.flag("IBKR_COMPETE", default=False),
        # The gateway's heartbeat comes every 10 s.
        silence_limit_s=values.number("GREEKS_IBKR_SILENCE_S", 30.0, 11.0, 3_600.0),
    )


def _tastytrade(
    values: Values, interval_s: float, watchlist: _Watchlist
) -> TastytradeConfig | None:
    if not values.flag("TASTYTRADE_ENABLED", default=False):
        return None
    for name in ("TT_SECRET", "TT_REFRESH"):
        if not values.secret(name):
            values.problem(
                name,
                "is needed: create an OAuth application and a grant at "
                "my.tastytrade.com (Manage, My Profile, API)",
            )
    api_url = values.url("TASTYTRADE_API_URL", "https://api.tastyworks.com", "http")
    streamer_url = values.url(
        "TASTYTRADE_STREAMER_URL", _STREAMER_OF_API.get(api_url, ""), "ws"
    )
    return TastytradeConfig(
        secret=values.secret("TT_SECRET"),
        refresh=values.secret("TT_REFRESH"),
        api_url=api_url,
        streamer_url=streamer_url or None,
        accounts=values.parsed("TASTYTRADE_ACCOUNTS", parse_names, ()),
        watchlist=watchlist.get("tastytrade", ()),
        positions_interval_s=interval_s,
        # The server promises something every 60 s, and sends it every 30.
        silence_limit_s=values.number(
            "GREEKS_TASTYTRADE_SILENCE_S", 65.0, 31.0, 3_600.0
        ),
    )


def _http(values: Values) -> HttpConfig | None:
    token = values.secret("GREEKS_API_TOKEN")
    max_reads = values.integer("GREEKS_HTTP_MAX_READS", 4, 1, 100)
    max_exports = values.integer("GREEKS_HTTP_MAX_EXPORTS", 2, 1, 100)
    read_timeout_s = values.number("GREEKS_HTTP_READ_TIMEOUT_S", 5.0, 0.1, 15.0)
    if values.is_switched_off("GREEKS_HTTP_BIND"):
        return None
    host, port = values.parsed("GREEKS_HTTP_BIND", parse_bind, ("127.0.0.1", 8080))
    if not token and not is_loopback(host):
        values.problem(
            "GREEKS_API_TOKEN",
            f"is needed because GREEKS_HTTP_BIND is {host}, which others can reach; "
            "set a long random text, or bind 127.0.0.1",
        )
    return HttpConfig(
        host=host,
        port=port,
        token=token,
        max_reads=max_reads,
        max_exports=max_exports,
        read_timeout_s=read_timeout_s,
    )


def _pipeline(values: Values) -> PipelineConfig:
    return PipelineConfig(
        intake_frames=values.integer("GREEKS_INTAKE_FRAMES", 100, 1, 1_000_000),
        batch_rows=values.integer("GREEKS_BATCH_ROWS", 5_000, 1, 100_000),
        backlog_max_bytes=values.integer(
            "GREEKS_BACKLOG_MAX_BYTES", 256 * 1024**2, 1024**2, 1024**4
        ),
        drain_timeout_s=values.number("GREEKS_DRAIN_TIMEOUT_S", 10.0, 0.0, 3_600.0),
        latency_slo_ms=values.number("GREEKS_LATENCY_SLO_MS", 500.0, 1.0, 60_000.0),
        stale_after_s=values.number("GREEKS_STALE_AFTER_S", 300.0, 1.0, 86_400.0),
    )


def _spool(values: Values) -> SpoolConfig:
    directory = values.text("GREEKS_SPOOL_DIR", "")
    return SpoolConfig(
        directory=Path(directory) if directory else None,
        max_bytes=values.integer(
            "GREEKS_SPOOL_MAX_BYTES", 2 * 1024**3, 1024**2, 1024**5
        ),
        after_ms=values.number("GREEKS_SPOOL_AFTER_MS", 50.0, 0.0, 60_000.0),
    )
