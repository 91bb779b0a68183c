"""What the service shows over HTTP: one router for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from greeks_trio.api.routes import feeds as streaming
from greeks_trio.api.routes import greeks, metrics, trades
from greeks_trio.api.routes import live as events
from greeks_trio.api.routes import status as health
from greeks_trio.assembly import Service
from greeks_trio.monitoring.metrics import make_registry
from greeks_trio.postgres.reads.timeline import Timeline


def make_routers(service: Service) -> list[APIRouter]:
    """Return the routers, each with the part of the service that it asks."""
    stale_after_s = service.status.stale_after_s
    timeline = Timeline(service.reader, stale_after_s)
    status = service.status
    event_source = events.EventSource(
        status.processor.latest, status.sessions, status.latency_details
    )
    return [
        health.make_router(service.status),
        metrics.make_router(make_registry(service.status)),
        streaming.make_router(service.switches),
        greeks.make_router(timeline),
        trades.make_router(timeline),
        events.make_router(event_source),
    ]
