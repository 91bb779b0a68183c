"""What goes wrong at a simulated broker, when, and the task that makes it so.

Written ``BROKER:NAME@SECONDS[:ARG]``: ``ibkr:drop@30:5`` closes every connection to the
simulated IBKR gateway after 30 seconds and lets nobody in for 5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio

from greeks_trio.model.records import BROKERS, Broker

logger = logging.getLogger(__name__)

# What a fault does when it happens; the number is the fault's argument.
Verb = Callable[[float], Awaitable[None]]

# The known faults, and the argument of one that is written without.
DEFAULT_ARGUMENTS: Final[Mapping[str, float]] = {
    # Seconds for which new connections are refused after all were closed.
    "drop": 5.0,
}


class Fault(msgspec.Struct, frozen=True):
    """One thing that goes wrong.

    Attributes:
        at_s: Seconds after the broker's port accepts.
        arg: Its meaning and unit are the fault's own, see `DEFAULT_ARGUMENTS`.
    """

    broker: Broker
    name: str
    at_s: float
    arg: float


def parse_fault(text: str) -> Fault:
    """Return the fault that ``BROKER:NAME@SECONDS[:ARG]`` describes.

    Raises:
        ValueError: it does not; the message says what is wrong with it.
    """
    what, at, when = text.partition("@")
    broker_name, colon, name = what.partition(":")
    if not (at and colon):
        raise ValueError(f"{text!r} is not BROKER:NAME@SECONDS[:ARG]")
    broker = next((each for each in BROKERS if each == broker_name), None)
    if broker is None:
        known = ", ".join(BROKERS)
        raise ValueError(f"unknown broker {broker_name!r} in {text!r}; known: {known}")
    if name not in DEFAULT_ARGUMENTS:
        known = ", ".join(DEFAULT_ARGUMENTS)
        raise ValueError(f"unknown fault {name!r} in {text!r}; known: {known}")
    seconds, colon, arg = when.partition(":")
    return Fault(
        broker,
        name,
        _parse_number(seconds, "time", text),
        _parse_number(arg, "argument", text) if colon else DEFAULT_ARGUMENTS[name],
    )


async def run_faults(faults: Iterable[Fault], verbs: Mapping[str, Verb]) -> None:
    """Make each fault happen at its time, counted from now.

    Faults of one time happen side by side, and a long one delays no other.  Returns
    when the last has ended; a cancellation ends those under way.
    """
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for fault in sorted(faults, key=lambda fault: fault.at_s):
            await trio.sleep_until(start + fault.at_s)
            logger.info(
                "simulator.fault broker=%s name=%s arg=%g",
                fault.broker,
                fault.name,
                fault.arg,
            )
            nursery.start_soon(verbs[fault.name], fault.arg, name=fault.name)


def _parse_number(text: str, what: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"the {what} {text!r} in {whole!r} is not a number from 0 up")
    return number
