"""The parts of a drill: brokers, PostgreSQL, links that fail, and one service or two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from psycopg import sql

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.drill.alert_exercise import AlertExercise, open_alert_exercise
from greeks_trio.drill.observer import Observer
from greeks_trio.drill.proxy import Proxy
from greeks_trio.drill.schedule import SILENCE_S
from greeks_trio.drill.service_process import DrilledService
from greeks_trio.drill.simulated_brokers import (
    SimulatedBrokers,
    open_simulated_brokers,
)
from greeks_trio.drill.standby import Servers, open_servers
from greeks_trio.model.records import Broker
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.restarts import RestartableServer
from greeks_trio.simulators.book.book import BookName

# Connection limits do not apply to superusers, so the service has a role of its own.
ROLE: Final = "drilled_service"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOptions:
    """Book, contracts, and ticks a second, of all brokers together.

    Attributes:
        has_standby: Whether the service knows a second server.
        has_two: Whether there are two services on the same logins, with alerts.
    """

    book: BookName
    contracts: int | None
    rate: float
    seed: int
    has_standby: bool = False
    has_two: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The parts that faults act on.

    Attributes:
        servers: PostgreSQL, and its standby after `Servers.follow`.
        database_links: Proxies between the services and each place of a server.
        links: Proxies between a service and each broker, for each service.
        services: The services, each with a spool of its own.
        alerts: The limit that is crossed; `None` with one service.
        database_turn: Held by the fault that acts on PostgreSQL itself.
    """

    directory: Path
    servers: Servers
    brokers: SimulatedBrokers
    database_links: Sequence[Proxy]
    links: Sequence[Mapping[Broker, Proxy]]
    services: Sequence[DrilledService]
    observer: Observer
    alerts: AlertExercise | None
    database_turn: trio.Lock = field(default_factory=trio.Lock)

    @property
    def postgres(self) -> RestartableServer:
        """Return the server that accepts rows."""
        return self.servers.primary

    @property
    def database_link(self) -> Proxy:
        """Return the proxy between the service and that server."""
        return self.database_links[self.servers.number]

    @property
    def service(self) -> DrilledService:
        """Return the service, or the first one: faults of a service act on it."""
        return self.services[0]

    @property
    def broker_links(self) -> Mapping[Broker, Proxy]:
        """Return the proxies between that service and each broker."""
        return self.links[0]

    @property
    def ledger(self) -> Path:
        """Return the file of the ticks that the brokers sent."""
        return _ledger(self.directory)

    @property
    def deliveries(self) -> Path:
        """Return the file of the connections that ticks were sent to, with two services."""
        return _deliveries(self.directory)


def _ledger(directory: Path) -> Path:
    return directory / "ledger.jsonl"


def _deliveries(directory: Path) -> Path:
    return directory / "deliveries.jsonl"


@asynccontextmanager
async def open_environment(
    directory: Path, options: EnvironmentOptions
) -> AsyncIterator[Environment]:
    """Start everything, the services last; end everything with the block.

    Raises:
        ProcessFailed: a process did not start, or ended by itself.  It may come at any
            time, and inside a group.
        StoreUnavailable: PostgreSQL did not start.
    """
    async with (
        open_servers(directory / "postgres") as servers,
        open_simulated_brokers(
            book=options.book,
            contracts=options.contracts,
            rate=options.rate,
            seed=options.seed,
            ledger=_ledger(directory),
            takes_faults=True,
            log=directory / "brokers.log",
            gateways=2 if options.has_two else 1,
            deliveries=_deliveries(directory) if options.has_two else None,
        ) as brokers,
        _alerts(directory, servers, options) as alerts,
        trio.open_nursery() as nursery,
    ):
        postgres = servers.primary.config
        password = await _make_role(postgres)
        places = servers.places if options.has_standby else servers.places[:1]
        proxies = [Proxy(partial(getattr, place, "address")) for place in places]
        for proxy in proxies:
            await nursery.start(proxy.run, name="database link")
        database = replace(
            postgres,
            hosts=("127.0.0.1",) * len(proxies),
            ports=tuple(proxy.port for proxy in proxies),
            user=ROLE,
            password=password,
        )
        observer = Observer(directory / "durable")
        services, links = [], []
        for number in range(2 if options.has_two else 1):
            links.append(await _open_links(nursery, brokers, number))
            settings = _settings(directory, number)
            more = {} if alerts is None else alerts.variables()
            _write_settings(settings, database, brokers, links[-1], more)
            service = DrilledService(settings, observer, number)
            services.append(service)
            nursery.start_soon(service.run, name="service")
            service.start()
        try:
            yield Environment(
                directory=directory,
                servers=servers,
                brokers=brokers,
                database_links=proxies,
                links=links,
                services=services,
                observer=observer,
                alerts=alerts,
            )
        finally:
            observer.close()
            nursery.cancel_scope.cancel()


async def _make_role(config: DatabaseConfig) -> Secret:
    """Make a role for the service that owns the database and has no other rights."""
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


@asynccontextmanager
async def _alerts(
    directory: Path, servers: Servers, options: EnvironmentOptions
) -> AsyncIterator[AlertExercise | None]:
    if options.has_two:
        async with open_alert_exercise(
            directory, lambda: servers.primary.config
        ) as alerts:
            yield alerts
    else:
        yield None


def _settings(directory: Path, number: int) -> Path:
    """Return the file with the settings of a service; the spool is beside it."""
    place = directory if number == 0 else directory / f"service-{number + 1}"
    place.mkdir(exist_ok=True)
    return place / "service.json"


async def _open_links(
    nursery: trio.Nursery, brokers: SimulatedBrokers, number: int
) -> Mapping[Broker, Proxy]:
    """Start the proxies between a service and each broker in ``nursery``."""
    return {
        broker: await _open_link(nursery, broker, brokers.port(broker, number))
        for broker in SILENCE_S
    }


async def _open_link(nursery: trio.Nursery, broker: Broker, port: int) -> Proxy:
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
    brokers: SimulatedBrokers,
    links: Mapping[Broker, Proxy],
    more: Mapping[str, str],
) -> None:
    variables = brokers.variables() | dict(more)
    for broker, link in links.items():
        variables |= brokers.endpoints.brokers[broker].at_port(link.port).variables()
        variables[f"GREEKS_{broker.upper()}_SILENCE_S"] = str(SILENCE_S[broker])
    variables |= {
        "POSTGRES_HOST": ",".join(database.hosts),
        "POSTGRES_PORT": ",".join(map(str, database.ports)),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.reveal(),
        "POSTGRES_DB": database.dbname,
        "POSTGRES_SSLMODE": "disable",
        "GREEKS_HTTP_BIND": "127.0.0.1:0",
        "GREEKS_SPOOL_DIR": str(path.with_name("spool")),
    }
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(variables))
