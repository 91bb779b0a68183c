"""What the service shows over HTTP: one router for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from greeks_trio.metrics import make_registry
from greeks_trio.service_parts import Service
from greeks_trio.web import health, metrics, streaming


def make_routers(service: Service) -> list[APIRouter]:
    """Return the routers, each with the part of the service that it asks."""
    return [
        health.make_router(service.overview),
        metrics.make_router(make_registry(service.overview)),
        streaming.make_router(service.streaming),
    ]
