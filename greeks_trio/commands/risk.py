"""``risk``: shows the totals of a running service."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from greeks_trio.commands.ask import (
    NoAnswer,
    Refusal,
    ask_pages,
    checked_url,
    service_url,
)
from greeks_trio.commands.risk_table import Total, risk_table
from greeks_trio.commands.status_health import HealthReport
from greeks_trio.commands.status_table import show
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError

# A busy service answers within a second.
LIMIT_S: Final = 10.0
REFRESH_S: Final = 2.0
# The exit statuses.
SHOWN, REFUSED, DOWN = 0, 1, 2

_PATH: Final = "/v1/risk/totals"
_WIDE: Final = 200
_ALWAYS: Final = ("book", "currency")


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskOptions:
    """Options of the ``risk`` command.

    Attributes:
        by: The names of columns with commas between them, as the service takes them.
        filters: The other parameters of the request, without those that are `None`.
        watch: Ask again every 2 s, until SIGINT or SIGTERM.
        as_json: Print one JSON object for each answer.
    """

    url: str | None = None
    by: str = "underlying"
    filters: Mapping[str, str] = field(default_factory=dict)
    watch: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """The rows of a service, or the reason why there are none."""

    status: int
    rows: Sequence[Total] = ()
    problem: str | None = None


async def run_risk(options: RiskOptions, *, limit_s: float = LIMIT_S) -> int:
    """Print the totals, and return the exit status.

    Args:
        options: The wishes of the user.
        limit_s: Seconds to wait for an answer.

    Raises:
        ConfigError: the address of the service is not known.
    """
    try:
        http = load_config(need_broker=False).http
        has_token = http is not None and bool(http.token.reveal())
        base = (
            service_url(http)
            if options.url is None
            else checked_url(options.url, has_token)
        )
    except ConfigError as exc:
        # For people, every command prints these problems to stderr.
        if options.as_json:
            _print_json(None, options, _Answer(DOWN, (), "; ".join(exc.problems)))
        raise
    totals = _Totals(base, http, options, limit_s)
    if options.watch:
        return await _watch(totals)
    answer = await totals.ask()
    totals.show(answer)
    return answer.status


class _Totals:
    """Asks one service again and again, and shows its answers."""

    def __init__(
        self, base: str, http: HttpConfig | None, options: RiskOptions, limit_s: float
    ) -> None:
        self._base = base
        self._http = http
        self._options = options
        self._limit_s = limit_s
        self.is_json = options.as_json

    async def ask(self) -> _Answer:
        """Return every row, page by page."""
        params = {"group_by": self._options.by, **self._options.filters}
        try:
            rows = await ask_pages(
                self._base, self._http, _PATH, params, limit_s=self._limit_s
            )
        except NoAnswer as exc:
            return _Answer(DOWN, (), str(exc))
        except Refusal as exc:
            return _Answer(REFUSED, (), str(exc))
        return _Answer(SHOWN, rows)

    def show(self, answer: _Answer) -> None:
        """Print an answer, for people or programs."""
        if self.is_json:
            _print_json(self._base, self._options, answer)
        elif answer.status == DOWN:
            show(self._base, HealthReport("down", [str(answer.problem)]))
        elif answer.problem is not None:
            click.echo(f"The service refuses the request: {answer.problem}", err=True)
        else:
            _console().print(self.table(answer))

    def table(self, answer: _Answer) -> RenderableType:
        """Return an answer as a table; no groups, if it is of the whole book."""
        if answer.problem is not None:
            return Text(f"No totals from {self._base}: {answer.problem}", "red")
        groups = [each for each in self._options.by.split(",") if each not in _ALWAYS]
        if "account_id" in groups and "broker" not in groups:
            groups.insert(0, "broker")
        if self._options.filters and not answer.rows:
            wanted = ", ".join(f"{k} {v}" for k, v in self._options.filters.items())
            return Text(f"No positions of {wanted}.")
        return risk_table(answer.rows, groups)


async def _watch(totals: _Totals) -> int:
    """Show a new answer every 2 s until a signal; return the status of the last one."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_wait_for_signal, stop)
        console = _console()
        if totals.is_json or not console.is_terminal:
            status = await _repeat(totals, stop, totals.show)
        else:
            with Live(console=console, auto_refresh=False) as live:
                status = await _repeat(
                    totals, stop, lambda answer: _update(live, totals, answer)
                )
        nursery.cancel_scope.cancel()
    return status


async def _wait_for_signal(
    stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set ``stop`` at the first Ctrl-C or SIGTERM, then return."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        await anext(aiter(signals))
        stop.set()


async def _repeat(
    totals: _Totals, stop: trio.Event, show_answer: Callable[[_Answer], None]
) -> int:
    status = SHOWN
    while not stop.is_set():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, stop, nursery.cancel_scope)
            answer = await totals.ask()
            status = answer.status
            show_answer(answer)
            with trio.move_on_after(REFRESH_S):
                await stop.wait()
            nursery.cancel_scope.cancel()
    return status


async def _cancel_at(stop: trio.Event, scope: trio.CancelScope) -> None:
    """End the request under way when a signal comes."""
    await stop.wait()
    scope.cancel()


def _update(live: Live, totals: _Totals, answer: _Answer) -> None:
    now = datetime.now(UTC).astimezone()
    heading = Text(f"{now:%H:%M:%S}, every {REFRESH_S:g} s; stop with Ctrl-C", "dim")
    live.update(Group(heading, totals.table(answer)), refresh=True)


def _console() -> Console:
    console = Console(highlight=False, markup=False)  # data are never markup
    if not console.is_terminal:
        console.width = _WIDE  # a file has no edge
    return console


def _print_json(base: str | None, options: RiskOptions, answer: _Answer) -> None:
    body = {
        "url": base,
        "group_by": options.by,
        "problems": [] if answer.problem is None else [answer.problem],
        "items": answer.rows,
    }
    click.echo(msgspec.json.encode(body).decode())
