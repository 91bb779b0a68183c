"""``check`` for this machine: the number of files that the process may open."""

from __future__ import annotations

import resource
from typing import Final

from greeks_trio.model.findings import Finding

_SUBJECT: Final = "file handles"
# Brokers, spool, database and the log take about 30, each client of HTTP one.
_LEAST: Final = 64
_ENOUGH: Final = 512


# As the other parts of `check`.
async def inspect_machine() -> list[Finding]:  # noqa: ASYNC124
    """Return whether the process may open enough files and sockets."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _ENOUGH:
        return [Finding(subject=_SUBJECT, verdict="fine", sentence=f"up to {limit}")]
    return [
        Finding(
            subject=_SUBJECT,
            verdict="failed" if limit < _LEAST else "warning",
            sentence=f"the process may open {limit} files and sockets, fewer than the "
            f"{_ENOUGH} that are enough for every client",
            remedy=f"Run ulimit -n {2 * _ENOUGH}, or set LimitNOFILE={2 * _ENOUGH} in the "
            "unit of systemd.",
        )
    ]
