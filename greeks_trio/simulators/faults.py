"""What goes wrong at a simulated broker, when, and the task that makes it so.

Written ``BROKER:NAME@SECONDS[:ARG]``: ``ibkr:drop@30:5`` closes every connection to the
simulated IBKR gateway after 30 seconds and lets nobody in for 5.  Without ``@SECONDS``
it means at once, as the control endpoint takes it.

`FAULT_KINDS` says which faults each broker knows.  A simulated broker has the property
``verbs``, a `Verb` under each of these names; a verb ends when its fault is over and
the broker normal again, and leaves it so when it is cancelled.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from greeks_trio.config.settings import BROKERS
from greeks_trio.model.records import Broker
from greeks_trio.simulators.fault_kinds import FaultKind
from greeks_trio.simulators.ibkr.fault_kinds import IBKR_FAULTS
from greeks_trio.simulators.tastytrade.fault_kinds import TASTYTRADE_FAULTS

logger = logging.getLogger(__name__)

# What a fault does when it happens; the number is the fault's argument, 0 for a fault
# without one.
Verb = Callable[[float], Awaitable[None]]

FAULT_KINDS: Final[Mapping[Broker, Mapping[str, FaultKind]]] = MappingProxyType(
    {"ibkr": IBKR_FAULTS, "tastytrade": TASTYTRADE_FAULTS}
)


class Fault(msgspec.Struct, frozen=True):
    """One thing that goes wrong.

    Attributes:
        at_s: Seconds after the broker's port accepts.
        arg: Its meaning and unit are the fault's own, see `FAULT_KINDS`.
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
    if not (at and ":" in what):
        raise ValueError(f"{text!r} is not BROKER:NAME@SECONDS[:ARG]")
    seconds, colon, arg = when.partition(":")
    return _fault(what, seconds, arg if colon else None, text)


def parse_present_fault(text: str) -> Fault:
    """Return the fault that ``BROKER:NAME[:ARG]`` describes, at 0 seconds.

    Raises:
        ValueError: it does not; the message says what is wrong with it.
    """
    broker, _, rest = text.partition(":")
    name, colon, arg = rest.partition(":")
    if not name or "@" in text:
        raise ValueError(f"{text!r} is not BROKER:NAME[:ARG]")
    return _fault(f"{broker}:{name}", "0", arg if colon else None, text)


async def run_faults(faults: Iterable[Fault], verbs: Mapping[str, Verb]) -> None:
    """Make each fault happen at its time, counted from now.

    Faults of one time happen side by side, and a long one delays no other.  Returns
    when the last has ended; a cancellation ends those under way.
    """
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for fault in sorted(faults, key=lambda fault: fault.at_s):
            await trio.sleep_until(start + fault.at_s)
            nursery.start_soon(run_fault, fault, verbs, name=fault.name)


async def run_fault(fault: Fault, verbs: Mapping[str, Verb]) -> None:
    """Make the fault happen at once; return when it is over, or cancelled."""
    where = (fault.broker, fault.name, fault.arg)
    logger.info("simulator.fault broker=%s name=%s arg=%g", *where)
    await verbs[fault.name](fault.arg)
    logger.info("simulator.fault_over broker=%s name=%s arg=%g", *where)


def _fault(what: str, seconds: str, arg: str | None, whole: str) -> Fault:
    broker_name, _, name = what.partition(":")
    broker = next((each for each in BROKERS if each == broker_name), None)
    if broker is None:
        known = ", ".join(BROKERS)
        raise ValueError(f"unknown broker {broker_name!r} in {whole!r}; known: {known}")
    kind = FAULT_KINDS[broker].get(name)
    if kind is None:
        known = ", ".join(FAULT_KINDS[broker])
        text = f"unknown fault {name!r} in {whole!r}; {broker} knows: {known}"
        raise ValueError(text)
    at_s = _parse_number(seconds, "time", whole)
    return Fault(broker, name, at_s, _parse_argument(arg, kind, whole))


def _parse_argument(text: str | None, kind: FaultKind, whole: str) -> float:
    if text is None:
        return kind.default or 0.0
    if kind.default is None:
        raise ValueError(f"the fault in {whole!r} takes no argument")
    number = _parse_number(text, "argument", whole)
    if number > kind.most:
        raise ValueError(f"the argument {text!r} in {whole!r} is above {kind.most:g}")
    return number


def _parse_number(text: str, what: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"the {what} {text!r} in {whole!r} is not a number from 0 up")
    return number
