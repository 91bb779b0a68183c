"""The settings of the HTTP interface.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.declaration import (
    Applies,
    Setting,
    part,
    setting,
)
from greeks_trio.config.kinds import (
    BIND,
    Address,
    number,
    whole_number,
)
from greeks_trio.config.secret import TOKEN, Secret

# A random text of this length cannot be guessed.
_SHORTEST_TOKEN: Final = 16

HTTP_BIND: Final = Setting(
    variable="GREEKS_HTTP_BIND",
    default=Address("127.0.0.1", 8080),
    kind=BIND,
    about="The address on which the HTTP interface listens. An empty value turns HTTP "
    "off.",
    applies=Applies.RESTART,
    asked=True,
)


def _token_beyond_this_machine(http: Mapping[str, Any]) -> str | None:
    if is_loopback(http["host"]):
        return None
    return (
        f"{HTTP_BIND.variable} is {http['host']}, which other machines can reach, so "
        "choose a long random text, or bind 127.0.0.1"
    )


def _short_token(token: Secret, http: Mapping[str, Any]) -> str | None:
    if is_loopback(http["host"]) or len(token.reveal()) >= _SHORTEST_TOKEN:
        return None
    return (
        f"has fewer than {_SHORTEST_TOKEN} characters, and {HTTP_BIND.variable} is "
        f"{http['host']}, which other machines can reach; choose a long random text"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where the HTTP interface listens, and how much work it may give PostgreSQL."""

    host: str = part(HTTP_BIND, lambda address: address.host)
    port: int = part(HTTP_BIND, lambda address: address.port)
    token: Secret = setting(
        "GREEKS_API_TOKEN",
        Secret(""),
        TOKEN,
        about='The token of each request, sent as "Authorization: Bearer TOKEN". An '
        "address that other machines can reach needs one of at least 16 characters.",
        applies=Applies.RESTART,
        needed=_token_beyond_this_machine,
        refuse=_short_token,
    )
    max_reads: int = setting(
        "GREEKS_HTTP_MAX_READS",
        4,
        whole_number(1, 100),
        about="The number of queries that PostgreSQL answers at a time, each on its own "
        "connection. A few more queries wait. Beyond them the answer is 503.",
        applies=Applies.RESTART,
    )
    read_share: float = setting(
        "GREEKS_HTTP_READ_SHARE",
        0.5,
        number(0.01, 100, "seconds"),
        about="The time of queries in each second, on average over some seconds. Beyond "
        "it queries wait, so that they cost the stored ticks no more than their share.",
        applies=Applies.RESTART,
    )
    max_exports: int = setting(
        "GREEKS_HTTP_MAX_EXPORTS",
        2,
        whole_number(1, 100),
        about="The number of exports (CSV, NDJSON) at a time, each on a connection of "
        "its own.",
        applies=Applies.RESTART,
    )
    export_timeout_s: float = setting(
        "GREEKS_HTTP_EXPORT_TIMEOUT_S",
        900.0,
        number(1, 86_400, "seconds"),
        about="The service breaks off an export that takes longer, also if its client "
        "reads slowly. Until then the export keeps a connection and a snapshot of the "
        "database.",
        applies=Applies.RESTART,
    )
    read_timeout_s: float = setting(
        "GREEKS_HTTP_READ_TIMEOUT_S",
        5.0,
        number(0.1, 15, "seconds"),
        about="PostgreSQL stops a query that takes longer.",
        applies=Applies.RESTART,
    )
