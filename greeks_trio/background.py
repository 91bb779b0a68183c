"""The tasks beside the stream: the HTTP interface, watches, alerts, and care of the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn, TypeAlias

import trio

from greeks_trio.alerts.channels import open_channels
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.alerts.service_alerts import ServiceAlerts
from greeks_trio.alerts.service_watch import run_service_alerts
from greeks_trio.alerts.task import run_alerts
from greeks_trio.api.server import OpenSocket, run_http
from greeks_trio.archive.task import run_retention
from greeks_trio.assembly import make_routers, source_of_alerts
from greeks_trio.leases.task import run_feed_leases
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.monitoring.replica import run_replica_watch
from greeks_trio.monitoring.storage import run_storage_watch
from greeks_trio.monitoring.systemd import Notifier, run_systemd_notify
from greeks_trio.monitoring.watches import run_watches
from greeks_trio.parts import Service
from greeks_trio.postgres.database_watch import run_database_watch
from greeks_trio.postgres.latest_refresh import run_latest_refresh
from greeks_trio.postgres.latest_seed import run_latest_seed
from greeks_trio.postgres.market_metrics_store import run_market_metrics
from greeks_trio.postgres.schema.partition_keeper import run_partition_keeper
from greeks_trio.postgres.schema.schema_watch import run_schema_watch
from greeks_trio.signals import run_on_hangup
from greeks_trio.spool.directory import SpoolDirectory
from greeks_trio.spool.location import spool_directory

RunPart: TypeAlias = Callable[[], Awaitable[object]]


async def start_background(
    service: Service,
    disk: SpoolDirectory,
    nursery: trio.Nursery,
    open_socket: OpenSocket | None,
) -> str | None:
    """Start the tasks beside the stream; return the address of the HTTP interface."""
    await nursery.start(run_on_hangup, service.reload)
    url = await _start_http(service, nursery, open_socket)
    # From here on the run has begun: only now its mark replaces that of an earlier run.
    _start_parts(service, nursery, _own_parts(service, disk))
    nursery.start_soon(
        run_systemd_notify,
        Notifier(),
        service.status.in_words,
        lambda: service.status.conditions.has(ConditionKind.LOOP_STUCK),
        service.stop,
        name="systemd",
    )
    _start_parts(service, nursery, _database_parts(service))
    _start_storage(service, nursery)
    await _start_alerts(service, nursery)
    return url


async def _start_http(
    service: Service, nursery: trio.Nursery, open_socket: OpenSocket | None
) -> str | None:
    """Start the HTTP interface and its reads; return its address, if it is on."""
    config, status = service.config.http, service.status
    if config is None:
        return None
    _start_parts(
        service,
        nursery,
        {"reader": service.reader.run, "primary reader": service.primary_reader.run},
    )
    http = partial(run_http, open_socket=open_socket, counts=status.http_connections)
    url: str = await nursery.start(http, config, make_routers(service))
    return url


def _start_parts(
    service: Service, nursery: trio.Nursery, parts: Mapping[str, RunPart]
) -> None:
    """Start parts of which each may fail and start again without the others."""
    for name, run in parts.items():
        nursery.start_soon(service.status.outages.run, name, run, name=name)


def _own_parts(service: Service, disk: SpoolDirectory) -> dict[str, RunPart]:
    """Return the parts that watch the service itself and its disk."""
    status = service.status
    parts: dict[str, RunPart] = {
        "alive mark": partial(disk.run_alive_mark, status.heard_at, status.conditions),
        "watches": partial(run_watches, status),
        "standstills": service.standstills.run,
        "worker": service.worker.run,
        "estimates": service.estimator.run,
    }
    if disk.acknowledged.is_on:
        parts["acknowledged"] = disk.acknowledged.run
        parts["offer again"] = service.offer_again.run
    return parts


def _database_parts(service: Service) -> dict[str, RunPart]:
    """Return the parts that keep the database in order, or look at it."""
    status, database = service.status, service.present_database
    watch = service.database_watch
    return {
        "partition keeper": partial(
            run_partition_keeper, database, service.partition_keeper, watch.changed
        ),
        "database watch": partial(run_database_watch, database, watch, service.confirm),
        "database changes": partial(_follow_database, service),
        "schema watch": partial(
            run_schema_watch, database, status.conditions, watch.changed
        ),
        "latest refresh": partial(
            run_latest_refresh,
            database,
            watch.changed,
            contracts=lambda: len(status.processor.latest),
        ),
        "market metrics": partial(
            run_market_metrics,
            database,
            service.betas.board,
            stale_after_s=status.stale_after_s,
        ),
        "latest seed": partial(
            run_latest_seed, database, status.backlog, status.processor.latest
        ),
        "leases": partial(
            run_feed_leases, database, [*service.leases.values()], watch.changed
        ),
    }


async def _start_alerts(service: Service, nursery: trio.Nursery) -> None:
    """Start the tasks that send alerts: about limits, and about the service itself.

    Raises:
        ConfigError: An address or a rule is wrong, or a package is missing.
    """
    status, limits, config = service.status, service.limits, service.started_with
    rules = load_rules(config.alerts_file, config.alert_urls)
    # The import of the package takes a second.
    channels = await trio.to_thread.run_sync(open_channels, config.alert_urls)
    limits.channels = channels
    limits.use(rules)
    tasks: list[RunPart] = [
        partial(
            limits.run,
            service.present_database,
            lambda: service.config.alerts_interval_s,
            service.database_watch.changed,
        )
    ]
    if channels:
        alerts = ServiceAlerts(channels, source=source_of_alerts())
        tasks.append(
            partial(
                run_service_alerts,
                alerts,
                status.conditions,
                lambda: "; ".join(status.readiness()),
            )
        )
    finish = partial(limits.finish, service.present_database)
    run = partial(run_alerts, channels, tasks, finish)
    nursery.start_soon(status.outages.run, "alerts", run, name="alerts")


def _start_storage(service: Service, nursery: trio.Nursery) -> None:
    """Start the tasks that watch the disks and take old months out of the database."""
    status = service.status
    disks = partial(
        run_storage_watch,
        status.storage,
        status.conditions,
        service.present_database,
        spool_directory(service.started_with),
    )
    retention = partial(
        run_retention,
        lambda: service.config,
        status.conditions,
        lambda: status.writer.statistics().is_connected,
    )
    replica = partial(
        run_replica_watch,
        status.replica,
        status.conditions,
        service.present_database,
        service.reader,
    )
    watches = (("storage", disks), ("retention", retention), ("replica", replica))
    for part, run in watches:
        nursery.start_soon(status.outages.run, part, run, name=part)


async def _follow_database(service: Service) -> NoReturn:
    """Tell everything again whenever the database is another one, until cancelled."""
    watch, status = service.database_watch, service.status
    seen = watch.changed.calls
    while True:
        await watch.changed.wait_beyond(seen)
        seen = watch.changed.calls
        service.tell_again()
        await run_latest_seed(
            lambda: service.config.database, status.backlog, status.processor.latest
        )
