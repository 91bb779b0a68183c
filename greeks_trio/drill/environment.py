"""Everything that a drill runs: brokers, PostgreSQL, links that fail, the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
import trio
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.drill.brokers import DrilledBrokers, open_brokers
from greeks_trio.drill.observer import Observer
from greeks_trio.drill.proxy import Proxy
from greeks_trio.drill.schedule import SILENCE_S
from greeks_trio.drill.service_process import DrilledService
from greeks_trio.model.records import Broker
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.restarts import (
    RestartableServer,
    open_restartable_server,
)

# Superusers are exempt from connection limits; the service of a drill is none.
ROLE: Final = "drilled_service"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOptions:
    """What the drill streams: contracts and ticks a second of both brokers together."""

    contracts: int
    rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What faults act on.

    Attributes:
        database_link: Between the service and PostgreSQL.
        broker_links: Between the service and each broker.
        database_turn: Held by the fault that acts on PostgreSQL itself.
    """

    directory: Path
    postgres: RestartableServer
    brokers: DrilledBrokers
    database_link: Proxy
    broker_links: Mapping[Broker, Proxy]
    service: DrilledService
    observer: Observer
    database_turn: trio.Lock = field(default_factory=trio.Lock)

    @property
    def ledger(self) -> Path:
        """Return the file of what the brokers sent."""
        return self.directory / "ledger.jsonl"


@asynccontextmanager
async def open_environment(
    directory: Path, options: EnvironmentOptions
) -> AsyncIterator[Environment]:
    """Start everything, the service last; end everything with the block.

    Raises:
        DrillFailed: a process did not start or ended by itself; it may come at any
            time, as may the others, and inside a group.
        StoreUnavailable: PostgreSQL did not start.
    """
    async with (
        open_restartable_server(directory / "postgres") as postgres,
        open_brokers(
            directory,
            contracts=options.contracts,
            rate=options.rate,
            seed=options.seed,
        ) as brokers,
        trio.open_nursery() as nursery,
    ):
        password = await _make_role(postgres.config)
        proxy = Proxy(lambda: (postgres.config.host, postgres.config.port))
        await nursery.start(proxy.run, name="database link")
        links = {
            broker: await _open_link(nursery, brokers, broker) for broker in SILENCE_S
        }
        database = replace(
            postgres.config, port=proxy.port, user=ROLE, password=password
        )
        observer = Observer(directory / "durable")
        settings = directory / "service.json"
        _write_settings(settings, database, brokers, links, options)
        service = DrilledService(settings, observer)
        nursery.start_soon(service.run, name="service")
        service.start()
        try:
            yield Environment(
                directory=directory,
                postgres=postgres,
                brokers=brokers,
                database_link=proxy,
                broker_links=links,
                service=service,
                observer=observer,
            )
        finally:
            observer.close()
            nursery.cancel_scope.cancel()


async def _make_role(config: DatabaseConfig) -> Secret:
    """Let the service be somebody who owns the database and no more."""
    password = config.password
    role, database = sql.Identifier(ROLE), sql.Identifier(config.dbname)
    async with open_connection(config, autocommit=True) as connection:
        await connection.execute(
            sql.SQL("create role {} login password {}").format(
                role, sql.Literal(password.reveal())
            )
        )
        await connection.execute(
            sql.SQL("alter database {} owner to {}").format(database, role)
        )
        await connection.execute(
            sql.SQL("grant all on schema public to {}").format(role)
        )
    return password


async def _open_link(
    nursery: trio.Nursery, brokers: DrilledBrokers, broker: Broker
) -> Proxy:
    """Start the proxy in front of a broker in ``nursery``."""
    ibkr, tastytrade = brokers.endpoints.ibkr, brokers.endpoints.tastytrade
    assert ibkr is not None  # noqa: S101  both were started
    assert tastytrade is not None  # noqa: S101
    url = ibkr.rest_url if broker == "ibkr" else tastytrade.api_url
    port = urlsplit(url).port or 0
    proxy = Proxy(lambda: ("127.0.0.1", port))
    await nursery.start(proxy.run, name=f"{broker} link")
    if broker == "tastytrade":
        # Its API tells clients where the stream is; free ports have five digits.
        proxy.replace = (
            f"127.0.0.1:{port}/".encode(),
            f"127.0.0.1:{proxy.port}/".encode(),
        )
    return proxy


def _write_settings(
    path: Path,
    database: DatabaseConfig,
    brokers: DrilledBrokers,
    links: Mapping[Broker, Proxy],
    options: EnvironmentOptions,
) -> None:
    ibkr, tastytrade = brokers.endpoints.ibkr, brokers.endpoints.tastytrade
    assert ibkr is not None  # noqa: S101  both were started
    assert tastytrade is not None  # noqa: S101
    at_ibkr, at_tastytrade = links["ibkr"].port, links["tastytrade"].port
    variables = {
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.reveal(),
        "POSTGRES_DB": database.dbname,
        "POSTGRES_SSLMODE": "disable",
        "GREEKS_HTTP_BIND": "127.0.0.1:0",
        "GREEKS_SPOOL_DIR": str(path.with_name("spool")),
        "IBKR_ENABLED": "true",
        "IBKR_API_URL": _with_port(ibkr.rest_url, at_ibkr),
        "IBKR_WS_URL": _with_port(ibkr.ws_url, at_ibkr),
        "IBKR_CA_FILE": ibkr.ca_file,
        "GREEKS_IBKR_SILENCE_S": str(SILENCE_S["ibkr"]),
        # As many as there are contracts, and a line for each underlying.
        "GREEKS_IBKR_MARKET_DATA_LINES": str(options.contracts + 100),
        "TASTYTRADE_ENABLED": "true",
        "TASTYTRADE_API_URL": _with_port(tastytrade.api_url, at_tastytrade),
        "TASTYTRADE_STREAMER_URL": _with_port(tastytrade.streamer_url, at_tastytrade),
        "TT_SECRET": tastytrade.secret,
        "TT_REFRESH": tastytrade.refresh,
        "GREEKS_TASTYTRADE_SILENCE_S": str(SILENCE_S["tastytrade"]),
    }
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(variables))


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{port}"))
