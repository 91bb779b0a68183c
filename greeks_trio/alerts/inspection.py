"""``check`` for the alerts: whether each address is one that can be used."""

from __future__ import annotations

from typing import Final

import trio

from greeks_trio.alerts.destination import open_destinations
from greeks_trio.config.secret import Secret
from greeks_trio.errors import ConfigError
from greeks_trio.model.findings import Finding

_SUBJECT: Final = "alerts"


async def inspect_alerts(urls: Secret) -> list[Finding]:
    """Return a finding for each wrong address, or one that names all; sends nothing."""
    if not urls:
        return []
    try:
        found = await trio.to_thread.run_sync(open_destinations, urls)
    except ConfigError as exc:
        return [
            Finding(subject=_SUBJECT, verdict="failed", sentence=each)
            for each in exc.problems
        ]
    names = ", ".join(each.name for each in found)
    return [
        Finding(
            subject=_SUBJECT,
            verdict="fine",
            sentence=f"{names}; `alert-test` sends a message to each",
        )
    ]
