"""A Python client of the HTTP interface: rows for pandas or polars.

::

    from greeks_trio.client import read_table

    ticks = pandas.DataFrame(read_table("snapshots", underlying="SPY", start=monday))
    sums = polars.DataFrame(read_table("portfolio"), infer_schema_length=None)

Each row is a dictionary of the columns that ``/openapi.json`` describes.  Times are aware
`datetime`, days are `date`, numbers are `int` or `float`, missing values are `None`.
All calls block.  The client is for scripts and notebooks, not for the service itself.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final, Literal, Self, TypeAlias
from uuid import uuid4

import httpx2
import msgspec

Row: TypeAlias = dict[str, Any]
Table = Literal[
    "snapshots",
    "latest",
    "asof",
    "positions",
    "portfolio",
    "position_greeks",
    "risk_totals",
    "profit_totals",
    "position_profit",
    "position_tags",
    "estimates",
    "portfolio_estimates",
    "beta_weighted",
    "beta_weighted_totals",
    "market_metrics",
    "volatility_skew",
    "volatility_term_structure",
    "account_values",
    "account_value_history",
    "divergence",
    "gaps",
    "outages",
    "trades",
]

DEFAULT_URL: Final = "http://127.0.0.1:8080"

_PATHS: Final[Mapping[str, str]] = {
    "snapshots": "/v1/greeks/snapshots",
    "latest": "/v1/greeks/latest",
    "asof": "/v1/greeks/asof",
    "positions": "/v1/positions",
    "portfolio": "/v1/portfolio",
    "position_greeks": "/v1/risk/positions",
    "risk_totals": "/v1/risk/totals",
    "profit_totals": "/v1/risk/profit",
    "position_profit": "/v1/risk/profit/positions",
    "position_tags": "/v1/position-tags",
    "estimates": "/v1/greeks/estimates",
    "portfolio_estimates": "/v1/portfolio/estimates",
    "beta_weighted": "/v1/risk/beta-weighted",
    "beta_weighted_totals": "/v1/risk/beta-weighted/totals",
    "market_metrics": "/v1/market-metrics",
    "volatility_skew": "/v1/risk/skew",
    "volatility_term_structure": "/v1/risk/term-structure",
    "account_values": "/v1/accounts/values",
    "account_value_history": "/v1/accounts/values/history",
    "divergence": "/v1/divergence",
    "gaps": "/v1/gaps",
    "outages": "/v1/outages",
    "trades": "/v1/trades",
    "alerts": "/v1/alerts",
    "alert_events": "/v1/alerts/events",
}


class _Problem(msgspec.Struct):
    detail: str
    errors: list[dict[str, str]] = []


class Refused(Exception):
    """The service refuses a request.

    Attributes:
        status: The HTTP status.  After 503 or 504 the same request may work a moment later.
        detail: The reason in words.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class GreeksClient:
    """Sends requests to one running service; a context manager that closes connections.

    Args:
        url: The address of the service.
        token: The value of ``GREEKS_API_TOKEN`` of the service, if it is set.  A warning
            tells that others can read it: without TLS on the way to another machine.
        timeout_s: Seconds without any answer after which a request fails.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if token and _is_readable(httpx2.URL(url)):
            warnings.warn(
                f"{url} is not encrypted: others can read the token on its way; use https",
                stacklevel=2,
            )
        # Without the proxies of the environment, which do not lead to this machine.
        self._http = httpx2.Client(
            base_url=url, headers=headers, timeout=timeout_s, trust_env=False
        )

    def rows(self, table: Table, **filters: object) -> Iterator[Row]:
        """Yield the rows of a table as they arrive, in the order of the table.

        Filters are the parameters of the interface, such as ``underlying="SPY"``,
        ``start=datetime(..., tzinfo=UTC)`` or ``limit=100``; `None` means any.

        Raises:
            Refused: the service refuses the request.
            ValueError: a time has no zone.
            httpx2.HTTPError: there is no service, or the connection broke: then the rows
                so far are not all rows.
        """
        params = _parameters({"format": "ndjson", **filters})
        with self._http.stream("GET", _PATHS[table], params=params) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            for line in _lines(answer.iter_bytes()):
                yield _typed(msgspec.json.decode(line))

    def snapshots(self, **filters: object) -> Iterator[Row]:
        """Yield ticks by time, see `rows`."""
        return self.rows("snapshots", **filters)

    def latest(self, **filters: object) -> list[Row]:
        """Return the newest Greeks of each contract, see `rows`."""
        return list(self.rows("latest", **filters))

    def portfolio(self, **filters: object) -> list[Row]:
        """Return the sums, at present or at the moment ``at``, see `rows`."""
        return list(self.rows("portfolio", **filters))

    def record_trade(self, **trade: object) -> Row:
        """Record a trade and return its row.

        Decimals are kept exactly.  If there is no answer, send the trade again with the
        same ``id``: it is recorded once.

        Raises:
            Refused: among other reasons, because another trade has this id (status 409).
            httpx2.HTTPError: the trade is perhaps recorded, perhaps not.
        """
        body = msgspec.json.encode({"id": str(uuid4()), **trade})
        headers = {"Content-Type": "application/json"}
        answer = self._http.post("/v1/trades", content=body, headers=headers)
        if not answer.is_success:
            raise _refusal(answer)
        return _typed(msgspec.json.decode(answer.content))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_table(
    table: Table,
    *,
    url: str = DEFAULT_URL,
    token: str | None = None,
    **filters: object,
) -> list[Row]:
    """Return all rows of a table, see `GreeksClient.rows`."""
    with GreeksClient(url, token=token) as client:
        return list(client.rows(table, **filters))


def _is_readable(url: httpx2.URL) -> bool:
    """Return whether the way to this address is neither encrypted nor on this machine."""
    if url.scheme != "http" or url.host.lower() == "localhost":
        return False
    try:
        return not ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return True


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines.  Only a newline ends a line, unlike in `str.splitlines`."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _parameters(filters: Mapping[str, object]) -> dict[str, str]:
    return {
        name: _parameter(name, value)
        for name, value in filters.items()
        if value is not None
    }


def _parameter(name: str, value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{name} has no time zone; use an aware datetime")
    if isinstance(value, bool):
        return str(value).lower()
    # pandas' timestamps are datetimes too.
    return value.isoformat() if isinstance(value, date) else str(value)


def _typed(row: Row) -> Row:
    """Replace the texts of times and days by `datetime` and `date`, in place."""
    for name, value in row.items():
        if isinstance(value, str) and (parse := _parser_of(name)) is not None:
            row[name] = parse(value)
    return row


def _parser_of(name: str) -> Callable[[str], object] | None:
    if name.endswith(("_time", "_at")):
        return datetime.fromisoformat
    return date.fromisoformat if name == "expiration" else None


def _refusal(answer: httpx2.Response) -> Refused:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.MsgspecError:  # the answer is not from our service
        return Refused(answer.status_code, answer.reason_phrase)
    reasons = [f"{each['where']}: {each['reason']}" for each in problem.errors]
    return Refused(answer.status_code, "; ".join([problem.detail, *reasons]))
