"""What the service is configured to do: frozen records, and how two of them compare.

`greeks_trio.config.parse` makes them of variables, `greeks_trio.config.load` reads the
variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Final

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker

# The brokers that have settings: each is a section of `Config`.
BROKERS: Final[tuple[Broker, ...]] = ("ibkr", "tastytrade")


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that never shows itself; ``reveal()`` is for the one who sends it."""

    _text: str

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """How to reach PostgreSQL.

    Attributes:
        host: Name, address, or the directory of a Unix socket.
        password: May be empty.
        sslmode: As libpq's; ``verify-full`` unless the host is loopback or a socket.
        timeout_s: Seconds after which a connection that does not answer is given up.
    """

    host: str = "localhost"
    port: int = 5432
    user: str = "portfolio"
    password: Secret = Secret("")
    dbname: str = "portfolio_engine"
    sslmode: str = "prefer"
    sslrootcert: Path | None = None
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IbkrConfig:
    """How to reach the Client Portal gateway, and what to stream from it.

    Attributes:
        api_url: REST base, ending in ``/v1/api``.
        ca_file: Certificates to trust; the gateway's own is self-signed.  Without it
            TLS towards loopback is not verified, towards anything else by the system.
        accounts: Accounts to follow; empty means all.
        watchlist: Contracts to stream although nobody may hold them.
        positions_interval_s: Seconds between reads of the positions.
        market_data_lines: How many subscriptions the account may have at a time.
        compete: Whether to take the brokerage session back from another program of the
            same user, which ends that one.
        silence_limit_s: Seconds without any frame after which a connection is dead.
    """

    api_url: str = "https://localhost:5000/v1/api"
    ws_url: str = "wss://localhost:5000/v1/api/ws"
    ca_file: Path | None = None
    accounts: tuple[str, ...] = ()
    watchlist: tuple[ContractKey, ...] = ()
    positions_interval_s: float = 60.0
    market_data_lines: int = 100
    compete: bool = False
    silence_limit_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TastytradeConfig:
    """How to reach Tastytrade, and what to stream from it.

    Attributes:
        secret: The OAuth client secret.
        refresh: The OAuth refresh token.
        streamer_url: The account streamer; `None` leaves positions to the interval.
        accounts: Accounts to follow; empty means all.
        watchlist: Contracts to stream although nobody may hold them.
        positions_interval_s: Seconds between reads of the positions.
        silence_limit_s: Seconds without any frame after which a connection is dead.
    """

    secret: Secret = Secret("")
    refresh: Secret = Secret("")
    api_url: str = "https://api.tastyworks.com"
    streamer_url: str | None = None
    accounts: tuple[str, ...] = ()
    watchlist: tuple[ContractKey, ...] = ()
    positions_interval_s: float = 60.0
    silence_limit_s: float = 65.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where the HTTP interface listens, and what it may ask of PostgreSQL.

    Attributes:
        port: 0 means any free one.
        max_reads: Questions that PostgreSQL answers at a time.
        max_exports: Exports under way at a time, beside these.
        read_timeout_s: Seconds after which PostgreSQL is told to stop looking.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: Secret = Secret("")
    max_reads: int = 4
    max_exports: int = 2
    read_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Sizes and times of the way from the feeds to the database.

    Attributes:
        intake_frames: Frames that may wait between the feeds and the processor; the
            feeds wait when it is full.
        batch_rows: Most rows in one COPY.
        backlog_max_bytes: Most memory for ticks that wait for the database; beyond it
            what the disk has is left to the disk, and then the oldest are lost, counted.
        drain_timeout_s: Seconds that the writer may take to flush after a stop.
        latency_slo_ms: The bar for the rolling p95 from frame read to durable.
        stale_after_s: Seconds without a tick after which a contract is stale.
    """

    intake_frames: int = 100
    batch_rows: int = 5_000
    backlog_max_bytes: int = 256 * 1024**2
    drain_timeout_s: float = 10.0
    latency_slo_ms: float = 500.0
    stale_after_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """What is kept on disk until the database has it.

    Attributes:
        directory: Of this service alone; `None` leaves the choice to the service.
        max_bytes: Beyond it the oldest spooled ticks are lost, counted.
        after_ms: Milliseconds after its frame was read at which a tick that is not
            committed goes to disk as well.
    """

    directory: Path | None = None
    max_bytes: int = 2 * 1024**3
    after_ms: float = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything.  A broker that is not enabled is `None`."""

    database: DatabaseConfig = DatabaseConfig()
    ibkr: IbkrConfig | None = None
    tastytrade: TastytradeConfig | None = None
    http: HttpConfig | None = HttpConfig()
    pipeline: PipelineConfig = PipelineConfig()
    spool: SpoolConfig = SpoolConfig()
    log_json: bool = False
    log_level: str = "INFO"


# What a running service does not change: connections and sockets that exist, sizes of
# buffers that are in use.  Everything else SIGHUP applies.
_RESTART_ONLY: Final[tuple[tuple[str, Callable[[Config], object]], ...]] = (
    ("IBKR_ENABLED", lambda config: config.ibkr is not None),
    ("TASTYTRADE_ENABLED", lambda config: config.tastytrade is not None),
    ("GREEKS_HTTP_BIND", lambda config: _bind(config.http)),
    ("GREEKS_API_TOKEN", lambda config: config.http and config.http.token),
    ("GREEKS_HTTP_MAX_READS", lambda config: config.http and config.http.max_reads),
    ("GREEKS_HTTP_MAX_EXPORTS", lambda config: config.http and config.http.max_exports),
    (
        "GREEKS_HTTP_READ_TIMEOUT_S",
        lambda config: config.http and config.http.read_timeout_s,
    ),
    ("GREEKS_LATENCY_SLO_MS", lambda config: config.pipeline.latency_slo_ms),
    ("GREEKS_STALE_AFTER_S", lambda config: config.pipeline.stale_after_s),
    ("GREEKS_DRAIN_TIMEOUT_S", lambda config: config.pipeline.drain_timeout_s),
    ("GREEKS_INTAKE_FRAMES", lambda config: config.pipeline.intake_frames),
    ("GREEKS_BATCH_ROWS", lambda config: config.pipeline.batch_rows),
    ("GREEKS_BACKLOG_MAX_BYTES", lambda config: config.pipeline.backlog_max_bytes),
    ("GREEKS_SPOOL_DIR", lambda config: config.spool.directory),
    ("GREEKS_SPOOL_MAX_BYTES", lambda config: config.spool.max_bytes),
    ("GREEKS_SPOOL_AFTER_MS", lambda config: config.spool.after_ms),
    ("GREEKS_LOG_JSON", lambda config: config.log_json),
    ("GREEKS_LOG_LEVEL", lambda config: config.log_level),
)

RESTART_VARIABLES: Final = frozenset(name for name, _ in _RESTART_ONLY)


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the variables that differ and that a running service cannot apply.

    In the order of ``.env.example``.
    """
    return [name for name, get in _RESTART_ONLY if get(old) != get(new)]


def describe(config: Config) -> dict[str, str]:
    """Return the effective configuration for the log, secrets as ``***``.

    Keys such as ``database.host``, in the order of the records.
    """
    return dict(_flatten("", config))


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Secret):
        yield prefix, str(value) if value else ""
    elif is_dataclass(value):
        for field in fields(value):
            name = f"{prefix}.{field.name}" if prefix else field.name
            yield from _flatten(name, getattr(value, field.name))
    elif isinstance(value, tuple):
        yield prefix, ",".join(map(str, value))
    else:
        # A broker or HTTP without settings is off; a single setting has its default.
        unset = "" if "." in prefix else "off"
        yield prefix, unset if value is None else str(value)


def _bind(http: HttpConfig | None) -> object:
    return http and (http.host, http.port)
