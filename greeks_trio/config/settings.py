"""The configuration: its sections, and one declaration for each setting.  Pure.

A new setting is one field with `setting` in a section.  The reader, the log, the rule
for restarts and the documents take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from greeks_trio.config.addresses import is_loopback, is_this_machine
from greeks_trio.config.broker_settings import (
    BROKERS,
    CONTRACTS,
    IbkrConfig,
    TastytradeConfig,
)
from greeks_trio.config.declaration import (
    Applies,
    Section,
    Setting,
    declarations,
    part,
    section,
    setting,
    settings_of,
)
from greeks_trio.config.kinds import (
    BIND,
    CERTIFICATES,
    DIRECTORY,
    FLAG,
    HOST,
    LOGIN_NAME,
    METHODS,
    TEXT,
    Address,
    Kind,
    choice,
    number,
    whole_number,
)
from greeks_trio.config.secret import SECRET, TOKEN, Secret
from greeks_trio.model.records import Broker

__all__ = [
    "BROKERS",
    "ENV_FILE",
    "GROUPS",
    "HTTP_BIND",
    "SETTINGS",
    "SWITCHES",
    "VARIABLES",
    "Config",
    "DatabaseConfig",
    "HttpConfig",
    "IbkrConfig",
    "PipelineConfig",
    "RetentionConfig",
    "Secret",
    "SpoolConfig",
    "TastytradeConfig",
]

LogFormat: TypeAlias = Literal["text", "logfmt", "json"]
LOG_FORMAT: Final = cast("Kind[LogFormat]", choice("text", "logfmt", "json"))

# The headings of the documents, in their order.
FILE_GROUP: Final = "The file with the settings"
DATABASE: Final = "PostgreSQL"
IBKR: Final = "Interactive Brokers (Client Portal gateway)"
TASTYTRADE: Final = "Tastytrade"
HTTP: Final = "HTTP"
PIPELINE: Final = "From the frame to the database"
SPOOL: Final = "The spool on disk"
RETENTION: Final = "Retention: months that leave the database"
LOG: Final = "Log"
GROUPS: Final = (
    FILE_GROUP,
    DATABASE,
    IBKR,
    TASTYTRADE,
    CONTRACTS,
    HTTP,
    PIPELINE,
    SPOOL,
    RETENTION,
    LOG,
)

# A random text of this length cannot be guessed.
_SHORTEST_TOKEN: Final = 16

_SSLMODE: Final = choice(
    "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
)

ENV_FILE: Final = Setting(
    variable="GREEKS_ENV_FILE",
    default=".env",
    kind=TEXT,
    about="The path of the file with the settings. Only the process environment can set "
    "this variable.",
    applies=Applies.RESTART,
    group=FILE_GROUP,
)
HTTP_BIND: Final = Setting(
    variable="GREEKS_HTTP_BIND",
    default=Address("127.0.0.1", 8080),
    kind=BIND,
    about="The address on which the HTTP interface listens. An empty value turns HTTP "
    "off.",
    applies=Applies.RESTART,
    asked=True,
)


def _sslmode_for(host: str) -> str:
    return "prefer" if is_this_machine(host) else "verify-full"


def _system_needs_verify_full(
    certificates: object, database: Mapping[str, Any]
) -> str | None:
    if certificates != "system" or database["sslmode"] == "verify-full":
        return None
    return "is 'system', which needs POSTGRES_SSLMODE=verify-full"


def _token_beyond_this_machine(http: Mapping[str, Any]) -> str | None:
    if is_loopback(http["host"]):
        return None
    return (
        f"{HTTP_BIND.variable} is {http['host']}, which other machines can reach, so "
        "choose a long random text, or bind 127.0.0.1"
    )


def _short_token(token: Secret, http: Mapping[str, Any]) -> str | None:
    if is_loopback(http["host"]) or len(token.reveal()) >= _SHORTEST_TOKEN:
        return None
    return (
        f"has fewer than {_SHORTEST_TOKEN} characters, and {HTTP_BIND.variable} is "
        f"{http['host']}, which other machines can reach; choose a long random text"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """How to reach PostgreSQL."""

    host: str = setting(
        "POSTGRES_HOST",
        "localhost",
        HOST,
        about="The server.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    port: int = setting(
        "POSTGRES_PORT",
        5432,
        whole_number(1, 65_535),
        about="The TCP port of the server.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    user: str = setting(
        "POSTGRES_USER",
        "portfolio",
        LOGIN_NAME,
        about="The role that logs in.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    password: Secret = setting(
        "POSTGRES_PASSWORD",
        Secret(""),
        SECRET,
        about="The password of the role. It may be empty.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    dbname: str = setting(
        "POSTGRES_DB",
        "portfolio_engine",
        LOGIN_NAME,
        about="The name of the database.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    sslmode: str = setting(
        "POSTGRES_SSLMODE",
        "prefer",
        _SSLMODE,
        about="How TLS protects the connection, as in libpq. The default is prefer for "
        "this machine and verify-full for any other machine.",
        applies=Applies.NEXT_CONNECTION,
        default_from=("host", _sslmode_for),
    )
    sslrootcert: Path | Literal["system"] | None = setting(
        "POSTGRES_SSLROOTCERT",
        None,
        CERTIFICATES,
        about="The certificates to trust with verify-ca and verify-full. The word system "
        "stands for those of the operating system and needs verify-full. Without this "
        "setting libpq reads ~/.postgresql/root.crt.",
        applies=Applies.NEXT_CONNECTION,
        refuse=_system_needs_verify_full,
    )
    require_auth: str = setting(
        "POSTGRES_REQUIRE_AUTH",
        "",
        METHODS,
        about="The methods by which the server may authenticate the role, as in libpq's "
        "require_auth. Without this setting they are scram-sha-256 if a password is set, "
        "and else all methods that do not send a password in clear or as MD5.",
        applies=Applies.NEXT_CONNECTION,
    )
    timeout_s: float = setting(
        "GREEKS_DB_TIMEOUT_S",
        5.0,
        number(0.1, 600, "seconds"),
        about="The service gives up a connection that does not answer for this time.",
        applies=Applies.NEXT_CONNECTION,
    )
    clock_limit_s: float = setting(
        "GREEKS_CLOCK_LIMIT_S",
        30.0,
        number(2, 300, "seconds"),
        about="The largest difference between the clocks of this machine, the database "
        "and the brokers. Beyond it the service is not ready, and corrects the times if "
        "the clock of this machine is the wrong one.",
        applies=Applies.RESTART,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where the HTTP interface listens, and how much work it may give PostgreSQL."""

    host: str = part(HTTP_BIND, lambda address: address.host)
    port: int = part(HTTP_BIND, lambda address: address.port)
    token: Secret = setting(
        "GREEKS_API_TOKEN",
        Secret(""),
        TOKEN,
        about='The token of each request, sent as "Authorization: Bearer TOKEN". An '
        "address that other machines can reach needs one of at least 16 characters.",
        applies=Applies.RESTART,
        needed=_token_beyond_this_machine,
        refuse=_short_token,
    )
    max_reads: int = setting(
        "GREEKS_HTTP_MAX_READS",
        4,
        whole_number(1, 100),
        about="The number of queries that PostgreSQL answers at a time, each on its own "
        "connection. A few more queries wait. Beyond them the answer is 503.",
        applies=Applies.RESTART,
    )
    read_share: float = setting(
        "GREEKS_HTTP_READ_SHARE",
        0.5,
        number(0.01, 100, "seconds"),
        about="The time of queries in each second, on average over some seconds. Beyond "
        "it queries wait, so that they cost the stored ticks no more than their share.",
        applies=Applies.RESTART,
    )
    max_exports: int = setting(
        "GREEKS_HTTP_MAX_EXPORTS",
        2,
        whole_number(1, 100),
        about="The number of exports (CSV, NDJSON) at a time, each on a connection of "
        "its own.",
        applies=Applies.RESTART,
    )
    export_timeout_s: float = setting(
        "GREEKS_HTTP_EXPORT_TIMEOUT_S",
        900.0,
        number(1, 86_400, "seconds"),
        about="The service breaks off an export that takes longer, also if its client "
        "reads slowly. Until then the export keeps a connection and a snapshot of the "
        "database.",
        applies=Applies.RESTART,
    )
    read_timeout_s: float = setting(
        "GREEKS_HTTP_READ_TIMEOUT_S",
        5.0,
        number(0.1, 15, "seconds"),
        about="PostgreSQL stops a query that takes longer.",
        applies=Applies.RESTART,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Sizes and times between the feeds and the database."""

    latency_slo_ms: float = setting(
        "GREEKS_LATENCY_SLO_MS",
        500.0,
        number(1, 60_000, "milliseconds"),
        about="The limit for the 95th percentile of the time from reading a frame until "
        "its tick is durable.",
        applies=Applies.RESTART,
    )
    stale_after_s: float = setting(
        "GREEKS_STALE_AFTER_S",
        300.0,
        number(1, 86_400, "seconds"),
        about="A contract without a tick for this time is stale. The status shows it, "
        "and the log warns about it while the market is open.",
        applies=Applies.RESTART,
    )
    drain_timeout_s: float = setting(
        "GREEKS_DRAIN_TIMEOUT_S",
        10.0,
        number(0, 3_600, "seconds"),
        about="The longest time that a stop takes to write the remaining ticks.",
        applies=Applies.RESTART,
    )
    intake_frames: int = setting(
        "GREEKS_INTAKE_FRAMES",
        100,
        whole_number(1, 1_000_000),
        about="The number of frames that may wait for the processor. The feeds wait "
        "when there are more.",
        applies=Applies.RESTART,
    )
    batch_rows: int = setting(
        "GREEKS_BATCH_ROWS",
        5_000,
        whole_number(1, 100_000),
        about="The largest number of rows in one transaction.",
        applies=Applies.RESTART,
    )
    backlog_max_bytes: int = setting(
        "GREEKS_BACKLOG_MAX_BYTES",
        256 * 1024**2,
        whole_number(1024**2, 1024**4, "bytes"),
        about="The memory for ticks that wait for the database, about 1 kB for each. "
        "Beyond it the service keeps ticks only in the spool. If the disk does not take "
        "them either, the oldest ticks are lost. The service logs and counts each loss.",
        applies=Applies.RESTART,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """The ticks on disk that are not in the database yet."""

    directory: Path | None = setting(
        "GREEKS_SPOOL_DIR",
        None,
        DIRECTORY,
        about="A directory for this service alone. By default each database has its "
        "own, such as ~/.local/share/greeks_trio/spool/localhost-5432-portfolio_engine.",
        applies=Applies.RESTART,
    )
    max_bytes: int = setting(
        "GREEKS_SPOOL_MAX_BYTES",
        2 * 1024**3,
        whole_number(1024**2, 1024**5, "bytes"),
        about="The largest size of the spool. Beyond it the oldest ticks are lost. The "
        "service logs and counts each loss.",
        applies=Applies.RESTART,
    )
    after_ms: float = setting(
        "GREEKS_SPOOL_AFTER_MS",
        50.0,
        number(0, 60_000, "milliseconds"),
        about="A tick that is not committed within this time after its frame was read "
        "also goes to disk.",
        applies=Applies.RESTART,
    )
    keep_s: float = setting(
        "GREEKS_SPOOL_KEEP_S",
        60.0,
        number(0, 86_400, "seconds"),
        about="Committed rows stay in the spool's directory for this time, and are offered "
        "again if the database has lost them: after a failover or a restored backup. They "
        "take at most a quarter of GREEKS_SPOOL_MAX_BYTES more. 0 keeps none.",
        applies=Applies.RESTART,
    )


def _payloads_outlive_months(months: int, earlier: Mapping[str, Any]) -> str | None:
    if not 0 < earlier["keep_months"] < months:
        return None
    return (
        f"is {months}: a month is dropped after GREEKS_KEEP_MONTHS="
        f"{earlier['keep_months']} with its payloads, so choose a number that is not larger"
    )


def _place_for_months(earlier: Mapping[str, Any]) -> str | None:
    if not earlier["keep_months"] or earlier["drop_without_archive"]:
        return None
    return (
        f"GREEKS_KEEP_MONTHS is {earlier['keep_months']}, so name the directory for the "
        "files of older months, or set GREEKS_DROP_WITHOUT_ARCHIVE=true to lose them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """How long ticks stay in the database."""

    keep_months: int = setting(
        "GREEKS_KEEP_MONTHS",
        0,
        whole_number(0, 1200, "months"),
        about="The number of whole months before the present one that stay in the "
        "database. The service archives older months once a day, and then drops them. 0 "
        "keeps every month.",
        applies=Applies.RELOAD,
    )
    keep_payload_months: int = setting(
        "GREEKS_KEEP_PAYLOAD_MONTHS",
        0,
        whole_number(0, 1200, "months"),
        about="The number of whole months before the present one that keep the "
        "broker's message (source_payload), which is most of a row. In older months it "
        "becomes {}. 0 keeps every payload.",
        applies=Applies.RELOAD,
        refuse=_payloads_outlive_months,
    )
    drop_without_archive: bool = setting(
        "GREEKS_DROP_WITHOUT_ARCHIVE",
        False,
        FLAG,
        about="Drops months that are older than GREEKS_KEEP_MONTHS without a file. Their "
        "ticks are lost.",
        applies=Applies.RELOAD,
    )
    archive_dir: Path | None = setting(
        "GREEKS_ARCHIVE_DIR",
        None,
        DIRECTORY,
        about="The directory for the files of archived months (Parquet). It needs the "
        "package pyarrow: pip install 'greeks-trio[parquet]'.",
        applies=Applies.RELOAD,
        needed=_place_for_months,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration.  A broker that is not enabled is `None`."""

    database: DatabaseConfig = section(DatabaseConfig, DatabaseConfig(), group=DATABASE)
    ibkr: IbkrConfig | None = section(
        IbkrConfig,
        None,
        group=IBKR,
        switch=Setting(
            variable="IBKR_ENABLED",
            default=False,
            kind=FLAG,
            about="Turns the feed of IBKR on. At least one broker must be enabled.",
            applies=Applies.RESTART,
        ),
    )
    tastytrade: TastytradeConfig | None = section(
        TastytradeConfig,
        None,
        group=TASTYTRADE,
        switch=Setting(
            variable="TASTYTRADE_ENABLED",
            default=False,
            kind=FLAG,
            about="Turns the feed of Tastytrade on. At least one broker must be "
            "enabled.",
            applies=Applies.RESTART,
        ),
    )
    http: HttpConfig | None = section(
        HttpConfig, HttpConfig(), group=HTTP, off_when_empty=HTTP_BIND
    )
    pipeline: PipelineConfig = section(PipelineConfig, PipelineConfig(), group=PIPELINE)
    spool: SpoolConfig = section(SpoolConfig, SpoolConfig(), group=SPOOL)
    retention: RetentionConfig = section(
        RetentionConfig, RetentionConfig(), group=RETENTION
    )
    embedded_port: int = setting(
        "GREEKS_EMBEDDED_PORT",
        25_432,
        whole_number(0, 65_535),
        about="The port of the bundled PostgreSQL (serve --embedded) on 127.0.0.1. 0 "
        "means any free port; the next start takes the same one if it is free.",
        applies=Applies.RESTART,
        group=DATABASE,
    )
    alert_urls: Secret = setting(
        "GREEKS_ALERT_URLS",
        Secret(""),
        SECRET,
        about="The addresses that get alerts, as the package apprise writes them, with "
        "commas or spaces between them: mailto://..., json://..., slack://... Empty: no "
        "alerts.",
        applies=Applies.RESTART,
        group=LOG,
    )
    log_json: bool = setting(
        "GREEKS_LOG_JSON",
        False,
        FLAG,
        about="The old name of GREEKS_LOG_FORMAT=json. The next release does not have it.",
        applies=Applies.RESTART,
        group=LOG,
    )
    log_form: LogFormat = setting(
        "GREEKS_LOG_FORMAT",
        "text",
        LOG_FORMAT,
        about="The form of each line of the log.",
        applies=Applies.RESTART,
        group=LOG,
    )
    log_level: str = setting(
        "GREEKS_LOG_LEVEL",
        "INFO",
        choice("DEBUG", "INFO", "WARNING", "ERROR"),
        about="The least severe level that the log shows.",
        applies=Applies.RESTART,
        group=LOG,
    )

    @property
    def log_format(self) -> LogFormat:
        """The form of a line of the log, from the new variable or the old one."""
        return "json" if self.log_json else self.log_form

    @property
    def has_broker(self) -> bool:
        """Whether any broker is enabled."""
        return any(getattr(self, broker) is not None for broker in BROKERS)


# In the order of the documents.
SETTINGS: Final[tuple[Setting[Any], ...]] = tuple(
    sorted((ENV_FILE, *settings_of(Config)), key=lambda each: GROUPS.index(each.group))
)
# The variable that enables each broker.
SWITCHES: Final[Mapping[Broker, str]] = {
    name: declared.switch.variable
    for name, declared in declarations(Config).items()
    if isinstance(declared, Section) and declared.switch is not None
}
VARIABLES: Final = tuple(each.variable for each in SETTINGS)
