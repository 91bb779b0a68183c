"""The settings of PostgreSQL, and of the months that leave it.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.declaration import (
    Applies,
    setting,
)
from greeks_trio.config.kinds import (
    CERTIFICATES,
    DIRECTORY,
    FLAG,
    HOSTS,
    LOGIN_NAME,
    METHODS,
    PORTS,
    SCHEMA_NAME,
    choice,
    number,
    whole_number,
)
from greeks_trio.config.secret import SECRET, Secret

_SSLMODE: Final = choice(
    "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
)


class Server(NamedTuple):
    """A server, as libpq names it: ``host`` may be the directory of a socket."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host.startswith(("/", "@")):
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _sslmode_for(hosts: tuple[str, ...]) -> str:
    return "prefer" if all(map(is_this_machine, hosts)) else "verify-full"


def _one_port_for_each(
    field: str, variable: str
) -> Callable[[tuple[int, ...], Mapping[str, Any]], str | None]:
    def refuse(ports: tuple[int, ...], earlier: Mapping[str, Any]) -> str | None:
        hosts = len(earlier[field])
        if len(ports) in {1, hosts}:
            return None
        return (
            f"has {len(ports)} ports, and {variable} has {hosts} "
            f"{'host' if hosts == 1 else 'hosts'}; write one port for each host in the "
            "same order, or one for all"
        )

    return refuse


def _servers(hosts: tuple[str, ...], ports: tuple[int, ...]) -> tuple[Server, ...]:
    return tuple(map(Server, hosts, ports * len(hosts) if len(ports) == 1 else ports))


def _system_needs_verify_full(
    certificates: object, database: Mapping[str, Any]
) -> str | None:
    if certificates != "system" or database["sslmode"] == "verify-full":
        return None
    return "is 'system', which needs POSTGRES_SSLMODE=verify-full"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """How to reach PostgreSQL."""

    hosts: tuple[str, ...] = setting(
        "POSTGRES_HOST",
        ("localhost",),
        HOSTS,
        about="The server. Name the primary and its standbys in any order: the service "
        "uses the one that accepts rows, and finds it again after a failover.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    ports: tuple[int, ...] = setting(
        "POSTGRES_PORT",
        (5432,),
        PORTS,
        about="The TCP port of the server. One for all servers, or one for each of them.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
        refuse=_one_port_for_each("hosts", "POSTGRES_HOST"),
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
    read_hosts: tuple[str, ...] = setting(
        "GREEKS_READ_HOST",
        (),
        HOSTS,
        about="The replicas that answer the reads of the HTTP interface. The status says "
        "how far they are behind. Without this setting, or while none of them answers, "
        "the server of POSTGRES_HOST does it.",
        applies=Applies.NEXT_CONNECTION,
    )
    read_ports: tuple[int, ...] = setting(
        "GREEKS_READ_PORT",
        (5432,),
        PORTS,
        about="The TCP port of the replicas. One for all, or one for each of them.",
        applies=Applies.NEXT_CONNECTION,
        refuse=_one_port_for_each("read_hosts", "GREEKS_READ_HOST"),
    )
    schema: str = setting(
        "GREEKS_DB_SCHEMA",
        "",
        SCHEMA_NAME,
        about="The schema of the tables. It is made if it does not exist. Several services "
        "share a database when each has a schema of its own. Without this setting it is "
        "the one on the role's search_path, which is public as a rule.",
        applies=Applies.NEXT_CONNECTION,
    )
    sslmode: str = setting(
        "POSTGRES_SSLMODE",
        "prefer",
        _SSLMODE,
        about="How TLS protects the connection, as in libpq. The default is prefer for "
        "this machine, and verify-full if any server is another machine.",
        applies=Applies.NEXT_CONNECTION,
        default_from=("hosts", _sslmode_for),
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

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers in their order; the one that accepts rows is used."""
        return _servers(self.hosts, self.ports)

    @property
    def server(self) -> Server:
        """The only server, or the first of several."""
        return self.servers[0]

    def for_reads(self) -> DatabaseConfig:
        """Return the same with the replicas first, and then the other servers."""
        if not self.read_hosts:
            return self
        servers = (*_servers(self.read_hosts, self.read_ports), *self.servers)
        hosts, ports = zip(*servers, strict=True)
        sslmode = self.sslmode
        # The default of a server on this machine is too weak for a replica elsewhere.
        if sslmode == "prefer" and not all(map(is_this_machine, self.read_hosts)):
            sslmode = "verify-full"
        return replace(self, hosts=hosts, ports=ports, sslmode=sslmode)

    @property
    def place(self) -> str:
        """The servers as text, such as ``db1:5432,db2:5432``."""
        return ",".join(map(str, self.servers))


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
