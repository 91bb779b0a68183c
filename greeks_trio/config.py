"""What the service is configured to do: frozen records, parsed from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greeks_trio.model.contracts import ContractKey


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
    """

    api_url: str = "https://localhost:5000/v1/api"
    ws_url: str = "wss://localhost:5000/v1/api/ws"
    ca_file: Path | None = None
    accounts: tuple[str, ...] = ()
    watchlist: tuple[ContractKey, ...] = ()
    positions_interval_s: float = 60.0
    market_data_lines: int = 100


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
    """

    secret: Secret = Secret("")
    refresh: Secret = Secret("")
    api_url: str = "https://api.tastyworks.com"
    streamer_url: str | None = None
    accounts: tuple[str, ...] = ()
    watchlist: tuple[ContractKey, ...] = ()
    positions_interval_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where the HTTP interface listens; ``port`` 0 means any free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: Secret = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Sizes and times of the way from the feeds to the database.

    Attributes:
        intake_frames: Frames that may wait between the feeds and the processor.
        batch_rows: Most rows in one COPY.
        backlog_rows: Most rows that wait in memory for the database; beyond it the
            oldest are lost, counted.
        drain_timeout_s: Seconds that the writer may take to flush after a stop.
        latency_slo_ms: The bar for the rolling p95 from frame read to commit.
    """

    intake_frames: int = 1_000
    batch_rows: int = 5_000
    backlog_rows: int = 200_000
    drain_timeout_s: float = 10.0
    latency_slo_ms: float = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything.  A broker that is not enabled is `None`."""

    database: DatabaseConfig = DatabaseConfig()
    ibkr: IbkrConfig | None = None
    tastytrade: TastytradeConfig | None = None
    http: HttpConfig | None = HttpConfig()
    pipeline: PipelineConfig = PipelineConfig()
    log_json: bool = False
