"""The configuration: its sections, and one declaration for each setting.  Pure.

A new setting is one field with `setting` in a section.  The reader, the log, the rule
for restarts and the documents take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from greeks_trio.config.broker_settings import (
    BROKERS,
    CONTRACTS,
    IbkrConfig,
    TastytradeConfig,
)
from greeks_trio.config.database_settings import DatabaseConfig, RetentionConfig, Server
from greeks_trio.config.declaration import (
    Applies,
    Section,
    Setting,
    declarations,
    section,
    setting,
    settings_of,
)
from greeks_trio.config.http_settings import HTTP_BIND, HttpConfig
from greeks_trio.config.kinds import (
    DIRECTORY,
    FILE,
    FLAG,
    TEXT,
    Kind,
    choice,
    number,
    whole_number,
)
from greeks_trio.config.secret import SECRET, Secret
from greeks_trio.model.contract_keys import parse_underlying
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
    "Server",
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
ALERTS: Final = "Alerts"
RISK: Final = "Risk"
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
    ALERTS,
    RISK,
    LOG,
)


def _parse_underlying(text: str) -> str:
    return parse_underlying(text, BROKERS)


UNDERLYING: Final[Kind[str]] = Kind(
    parse=_parse_underlying,
    values="the symbol of an underlying, such as SPY",
    write=str,
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
    risk_free_rate: float = setting(
        "GREEKS_RISK_FREE_RATE",
        0.04,
        number(-0.5, 1, ""),
        about="The rate of interest with which the service prices options: 0.04 means 4 % a "
        "year, compounded continuously. A request can name another one.",
        applies=Applies.RELOAD,
        group=RISK,
    )
    estimates: bool = setting(
        "GREEKS_ESTIMATES",
        False,
        FLAG,
        about="Estimates Greeks that a broker does not send, or that are stale, every few "
        "seconds by a model. They are marked, and only the views and lists of estimates have "
        "them.",
        applies=Applies.RELOAD,
        group=RISK,
    )
    betas_file: Path | None = setting(
        "GREEKS_BETAS_FILE",
        None,
        FILE,
        about="A TOML file with betas of yours, which come before those of Tastytrade. The "
        "page Risk of the documents explains it. Empty: no betas of yours.",
        applies=Applies.RELOAD,
        group=RISK,
    )
    benchmark: str = setting(
        "GREEKS_BENCHMARK",
        "SPY",
        UNDERLYING,
        about="The underlying in whose shares the HTTP interface and the limits have "
        "beta-weighted deltas. The views take SPY.",
        applies=Applies.RESTART,
        group=RISK,
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
        about="The channels of alerts: addresses as the package apprise writes them, with "
        "commas or spaces between them, such as desk=mailto://... or json://.... A name in "
        "front lets rules choose the channel. Empty: no message is sent.",
        applies=Applies.RESTART,
        group=ALERTS,
    )
    alerts_file: Path | None = setting(
        "GREEKS_ALERTS_FILE",
        None,
        FILE,
        about="The file with the limits, such as alerts.toml. alerts.example.toml and the "
        "page Limits of the documents explain it. Empty: no limits.",
        applies=Applies.RELOAD,
        group=ALERTS,
    )
    alerts_interval_s: float = setting(
        "GREEKS_ALERTS_INTERVAL_S",
        5.0,
        # The hold times of limits leave out longer pauses: `risk.limits.LONGEST_STEP_S`.
        number(0.1, 60, "seconds"),
        about="The time between two looks at the limits.",
        applies=Applies.RELOAD,
        group=ALERTS,
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
        """The form of a line of the log, from the new variable, else from the old one."""
        return "json" if self.log_json and self.log_form == "text" else self.log_form

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
