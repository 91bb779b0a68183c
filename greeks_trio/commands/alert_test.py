"""``alert-test``: sends one message to each address of ``GREEKS_ALERT_URLS``."""

from __future__ import annotations

import platform

import click
import trio

from greeks_trio.alerts import open_destinations
from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.config.settings import Config

_LIMIT_S = 30.0


async def run_alert_test(config: Config) -> int:
    """Send the messages, print a line for each address, and return the exit status.

    Raises:
        ConfigError: An address is wrong, or a package is missing.
    """
    destinations = open_destinations(config.alert_urls)
    if not destinations:
        click.echo("GREEKS_ALERT_URLS is empty: there is no address to send to.")
        return FAILED
    status = OK
    title = f"greeks_trio on {platform.node()}: test"
    for each in destinations:
        reason: str | None = f"no answer within {_LIMIT_S:.0f} s"
        with trio.move_on_after(_LIMIT_S):
            reason = await trio.to_thread.run_sync(
                each.deliver, title, "This is a test.", abandon_on_cancel=True
            )
        click.echo(f"{each.name}: {'sent' if reason is None else reason}")
        status = status if reason is None else FAILED
    return status
