"""The state of the fleet in types that JSON has: each service, and all together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from greeks_trio.fleet.watch import Readiness, ServiceWatch

Health: TypeAlias = Literal["healthy", "degraded", "down"]

_HEALTHS: Final[tuple[Health, ...]] = ("healthy", "degraded", "down")


def fleet_status(watches: Iterable[ServiceWatch], now: datetime) -> dict[str, Any]:
    """Return the state of every service by its name, with a summary."""
    services = {each.member.name: service_status(each) for each in watches}
    return {"at": now, "summary": _summary(services), "services": services}


def _summary(services: dict[str, dict[str, Any]]) -> dict[str, Any]:
    states = services.values()
    worst = max((each["health"] for each in states), key=_HEALTHS.index, default="down")
    rates = [each["ticks_per_second"] for each in states]
    return {
        "health": worst,
        "services": len(services),
        "ready": sum(each["is_ready"] for each in states),
        "not_ready": {
            name: each["problems"]
            for name, each in services.items()
            if not each["is_ready"]
        },
        "no_answer_since": {
            name: each["no_answer_since"]
            for name, each in services.items()
            if each["no_answer_since"] is not None
        },
        "warnings": sum(len(each["warnings"]) for each in states),
        "restarts": sum(each["restarts"] for each in states),
        # Of those whose rate is known.
        "ticks_per_second": round(sum(filter(None, rates)), 1),
        "ticks_per_second_unknown": rates.count(None),
    }


def service_status(watch: ServiceWatch) -> dict[str, Any]:
    """Return the state of one service."""
    member, plan = watch.member, watch.member.plan
    readiness = watch.answer.readiness if watch.is_answering else Readiness()
    problems, warnings = problems_of(watch), readiness.warnings
    rate = watch.ticks_per_second
    health: Health = "degraded" if problems or warnings else "healthy"
    return {
        "health": health if watch.is_answering else "down",
        "state": member.state,
        "state_since": member.changed_at,
        "is_ready": not problems,
        "problems": problems,
        "warnings": warnings,
        "notes": readiness.notes,
        "answered_at": watch.answered_at,
        "answer_age_s": watch.answer_age_s,
        "no_answer_since": watch.no_answer_since,
        "ticks_per_second": None if rate is None else round(rate, 1),
        "newest_tick_age_s": watch.tick_age_s,
        "sessions": watch.answer.sessions,
        "pid": member.pid,
        "restarts": member.restarts,
        "last_end": member.last_end,
        "last_ended_at": member.ended_at,
        "schema": plan.config.database.schema,
        "database": f"{plan.config.database.place}/{plan.config.database.dbname}",
        "url": member.url,
        # The whole answer, as old as `answer_age_s` says.
        "status": watch.status or None,
    }


def problems_of(watch: ServiceWatch) -> Sequence[str]:
    """Return a sentence for each reason why a service is not ready."""
    if not watch.is_answering:
        return [silence_of(watch)]
    return watch.answer.readiness.problems


def silence_of(watch: ServiceWatch) -> str:
    """Return since when a service gives no answer, and why."""
    since = watch.no_answer_since
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return f"no answer{when}: {watch.why_silent}"
