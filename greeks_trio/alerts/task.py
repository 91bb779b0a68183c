"""The part of the service that sends alerts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from greeks_trio.alerts.channels import CLOSE_LIMIT_S, Channel, close_channels


async def run_alerts(
    channels: Sequence[Channel],
    tasks: Sequence[Callable[[], Awaitable[object]]],
    finish: Callable[[], Awaitable[None]],
) -> None:
    """Run the tasks that send alerts, until cancelled.

    Then the last messages have two seconds, and ``finish`` is awaited at the end.

    Args:
        channels: The channels of all tasks.
        tasks: They never end by themselves.
        finish: Writes the outcome of the last messages; has a limit of its own.
    """
    for each in channels:
        each.open()
    try:
        async with trio.open_nursery() as nursery:
            for run in tasks:
                nursery.start_soon(run)
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S + 1, shield=True):
            await trio.to_thread.run_sync(
                close_channels, channels, abandon_on_cancel=True
            )
        with trio.move_on_after(CLOSE_LIMIT_S + 1, shield=True):
            await finish()
