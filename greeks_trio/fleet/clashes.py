"""Things that two services of a fleet cannot share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from greeks_trio.config.settings import Config
from greeks_trio.fleet.plan import SCHEMA, ServicePlan
from greeks_trio.spool.location import spool_directory


def find_clashes(
    services: list[ServicePlan], fleet: Config | None, path: str
) -> Iterator[str]:
    """Yield a sentence for each thing that two services cannot share."""
    yield from _shared(
        services,
        _tables_of,
        "write to the same schema of the same database",
        f"give each a {SCHEMA} of its own in {path}",
    )
    yield from _shared(
        services,
        lambda each: str(spool_directory(each.config).resolve()),
        "have the same spool directory",
        f"give each a GREEKS_SPOOL_DIR of its own in {path}",
    )
    yield from _shared(
        services,
        lambda each: str(each.http.port or ""),
        "have the same HTTP port",
        f"give each a GREEKS_HTTP_BIND of its own in {path}, or none",
    )
    if fleet is not None:
        yield from _clashes_with_fleet(services, fleet, path)


def _clashes_with_fleet(
    services: list[ServicePlan], fleet: Config, path: str
) -> Iterator[str]:
    """Yield a sentence for each thing that a service cannot share with the fleet."""
    views = _place_of(fleet)
    for each in services:
        if fleet.http is not None and each.http.port == fleet.http.port != 0:
            yield (
                f"service {each.name} and the fleet have the same HTTP port, "
                f"{fleet.http.port}; change one GREEKS_HTTP_BIND in {path}."
            )
        if _tables_of(each) == views:
            yield (
                f"service {each.name} writes to the schema of the fleet's views ({views}); "
                f"give one of them another {SCHEMA} in {path}."
            )


def _tables_of(plan: ServicePlan) -> str:
    return _place_of(plan.config)


def _place_of(config: Config) -> str:
    database = config.database
    return f"{database.schema} in {database.dbname} at {database.place}"


def _shared(
    services: list[ServicePlan],
    thing_of: Callable[[ServicePlan], str],
    fault: str,
    remedy: str,
) -> Iterator[str]:
    owners: dict[str, list[str]] = {}
    for each in services:
        if thing := thing_of(each):
            owners.setdefault(thing, []).append(each.name)
    for thing, names in owners.items():
        if len(names) > 1:
            yield f"services {' and '.join(names)} {fault} ({thing}); {remedy}."
