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
    stale_after_s = service.overview.stale_after_s
    timeline = Timeline(service.reader, stale_after_s)
    overview = service.overview
    event_source = events.EventSource(
        overview.processor.latest, overview.sessions, overview.latency_details
    )
    return [
        health.make_router(service.overview),
        metrics.make_router(make_registry(service.overview)),
        streaming.make_router(service.streaming),
        greeks.make_router(timeline),
        trades.make_router(timeline),
        events.make_router(event_source),
    ]
