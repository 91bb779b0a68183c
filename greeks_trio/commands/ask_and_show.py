"""One question to a running service: its address, the answer, and the exit status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import click

from greeks_trio.commands.ask import NoAnswer, Refusal, ask, checked_url, service_url
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import HttpConfig

# The first request starts the worker, which takes a second on a busy machine.
_WORKER_LIMIT_S: Final = 60.0
_OK, _FAILED, _REFUSED = 0, 1, 2

_T = TypeVar("_T")


async def ask_and_show(
    url: str | None,
    request: Callable[[str, HttpConfig | None], Awaitable[_T]],
    show: Callable[[str, _T], None],
) -> int:
    """Ask the service, show the answer, and return the exit status.

    Args:
        url: The address of the service; without it, the configuration gives it.
        request: Asks the service at an address.
        show: Prints the answer of an address.

    Raises:
        ConfigError: the address of the service is not known.
    """
    http = load_config(need_broker=False).http
    has_token = http is not None and bool(http.token.reveal())
    base = service_url(http) if url is None else checked_url(url, has_token)
    try:
        answer = await request(base, http)
    except NoAnswer as exc:
        click.echo(f"No answer from {base}: {exc}.", err=True)
        return _FAILED
    except Refusal as exc:
        click.echo(f"The service refuses the request: {exc}", err=True)
        return _REFUSED
    show(base, answer)
    return _OK


async def ask_worker(
    path: str,
    show: Callable[[Mapping[str, Any]], None],
    *,
    url: str | None,
    as_json: bool,
    params: Mapping[str, str],
) -> int:
    """Ask for something that the service's worker computes; see `ask_and_show`.

    Args:
        path: The path of the request.
        show: Prints the answer for people.
        url: The address of the service.
        as_json: Print the answer of the service as it is.
        params: The parameters of the request.

    Raises:
        ConfigError: the address of the service is not known.
    """

    def print_answer(_: str, found: tuple[bytes, Any]) -> None:
        text, answer = found
        if as_json:
            click.echo(text.decode())
        else:
            show(answer)

    return await ask_and_show(
        url,
        lambda base, http: ask(base, http, path, params, limit_s=_WORKER_LIMIT_S),
        print_answer,
    )
