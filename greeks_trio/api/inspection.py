"""``check`` for HTTP: whether the address is free, or which program has it."""

from __future__ import annotations

from typing import Final

import httpx2
import trio

from greeks_trio.api.server import EVERYWHERE, bind
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError
from greeks_trio.model.findings import Finding

_SUBJECT: Final = "http"
_LIMIT_S: Final = 3.0
# The answer of `GET /livez`.
_ALIVE: Final = {"status": "alive"}


async def inspect_http(config: HttpConfig | None) -> list[Finding]:
    """Return whether the HTTP interface could listen at its address."""
    if config is None:
        return [_fine("off, because GREEKS_HTTP_BIND is empty")]
    try:
        (await bind(config)).close()
    except ConfigError as exc:
        if await _is_our_service(config):
            return [_fine(f"a service of ours answers at {config.host}:{config.port}")]
        return [
            Finding(subject=_SUBJECT, verdict="failed", sentence=exc.problems[0]),
        ]
    if not config.port:
        return [_fine(f"any free port of {config.host}")]
    return [_fine(f"{config.host}:{config.port} is free")]


def _fine(sentence: str) -> Finding:
    return Finding(subject=_SUBJECT, verdict="fine", sentence=sentence)


async def _is_our_service(config: HttpConfig) -> bool:
    host = EVERYWHERE.get(config.host, config.host)
    base = f"http://[{host}]" if ":" in host else f"http://{host}"
    try:
        async with httpx2.AsyncClient(timeout=None, trust_env=False) as client:
            with trio.fail_after(_LIMIT_S):
                answer = await client.get(f"{base}:{config.port}/livez")
        return bool(answer.json() == _ALIVE)
    except (trio.TooSlowError, httpx2.HTTPError, ValueError):
        return False
