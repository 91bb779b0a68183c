"""The views over all services: which services they have, and a task that renews them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn

import psycopg
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.fleet.plan import FleetPlan, ServicePlan
from greeks_trio.postgres.connect import is_same_database, open_to_inspect
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.fleet_views import (
    FleetViews,
    has_fleet_views,
    make_fleet_views,
)

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 30.0
# A wait for a lock has a shorter limit of its own.
_LIMIT_S: Final = 60.0


async def make_views(plan: FleetPlan) -> FleetViews:
    """Make the views of the services that are in the database of the fleet.

    Raises:
        StoreUnavailable: the database cannot be reached.
        SchemaRejected: there is nothing to make views of, or the server refused.
    """
    home = plan.config.database.schema
    inside, elsewhere = _services_of(plan)
    schemas = {name: each.config.database.schema for name, each in inside.items()}
    async with open_to_inspect(_login(plan)) as connection:
        with translated(connection), trio.fail_after(_LIMIT_S):
            made = await make_fleet_views(connection, home, schemas)
    return replace(made, left_out=[*made.left_out, *elsewhere])


def _services_of(plan: FleetPlan) -> tuple[dict[str, ServicePlan], list[str]]:
    """Return the services in the database of the views, and a sentence for each other one."""
    ours = plan.config.database
    inside, elsewhere = {}, []
    for name, each in plan.services.items():
        theirs = each.config.database
        if is_same_database(replace(ours, schema=""), replace(theirs, schema="")):
            inside[name] = each
        else:
            elsewhere.append(
                f"{name}: it writes to {theirs.dbname} at {theirs.place}, and the views are "
                f"in {ours.dbname} at {ours.place}"
            )
    return inside, elsewhere


def _login(plan: FleetPlan) -> DatabaseConfig:
    """Return the login of the views.

    Its schema is that of a service, because the one of the views may not exist yet.
    """
    inside, _ = _services_of(plan)
    first = next((each.config.database.schema for each in inside.values()), "")
    return replace(plan.config.database, schema=first)


async def run_fleet_views(
    plan: Callable[[], FleetPlan],
    is_answering: Callable[[str], bool],
    *,
    every_s: float = _INTERVAL_S,
) -> NoReturn:
    """Make the views anew after a migration or a change of the file, until cancelled.

    Only views that ``fleet-views`` has made once are kept up to date.

    Args:
        plan: Returns the present plan.
        is_answering: Returns whether a service answers, so that its tables are there.
        every_s: The time between two looks.
    """
    told = ("", "")
    while True:
        present = plan()
        if any(map(is_answering, present.services)):
            left_out, fault = outcome = await _try(present)
            if left_out and outcome != told:
                logger.warning("fleet.views_left_out reason=%s", left_out)
            if fault and outcome != told:
                logger.warning("fleet.views_not_renewed reason=%s", fault)
            told = outcome
        await trio.sleep(every_s)


async def _try(plan: FleetPlan) -> tuple[str, str]:
    """Renew the views; return the services without views, and the fault."""
    try:
        return await _renew(plan), ""
    except (StoreError, psycopg.Error) as exc:
        return "", plain_reason(exc)


async def _renew(plan: FleetPlan) -> str:
    """Make views that differ anew; return which services are not in them, and why."""
    home = plan.config.database.schema
    async with open_to_inspect(_login(plan)) as connection:
        with translated(connection), trio.fail_after(_LIMIT_S):
            if not await has_fleet_views(connection, home):
                return ""
    made = await make_views(plan)
    if made.changed:
        logger.info(
            "fleet.views_renewed schema=%s names=%s", home, ",".join(made.changed)
        )
    return "; ".join(made.left_out)
