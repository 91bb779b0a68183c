"""A book: the market, the holdings at each broker, and its imperfections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal

from greeks_trio.model.contracts import Conid
from greeks_trio.model.records import Broker
from greeks_trio.simulators.market import Market, SimulatedOption

BookName = Literal["textbook", "real"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imperfections:
    """The deliberate faults of the brokers; the real ones have them too.

    Attributes:
        delayed_every: One in so many options at IBKR has delayed data.
        illiquid_every: One in so many held options at Tastytrade never has Greeks.
        wrong_status_share: The share of IBKR's heartbeats after which a status frame
            wrongly calls the session lost.
        unset_share: The share of ticks and quotes with a number that means "unset".
    """

    delayed_every: int | None = None
    illiquid_every: int | None = None
    wrong_status_share: float = 0.0
    unset_share: float = 0.0


FLAWLESS: Final = Imperfections()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split of shares in the middle of a session, and an option on them.

    The shares keep their number at the broker.  The option becomes one on a basket that
    has the value of one old share.  At IBKR it keeps its conid.  At Tastytrade the old
    option is closed and the adjusted one is opened.

    Attributes:
        at_s: Seconds after the first subscription of a client.
        ratio: New shares for one old share.
    """

    at_s: float
    before: SimulatedOption
    after: SimulatedOption
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """The accounts at one broker.

    Attributes:
        accounts: Signed quantities by account and conid.  The conid is our own number
            of the instrument at every broker.
        master: An advisor's own account, which holds nothing; `None` without advisor.
        closed: Accounts that are closed.
    """

    accounts: Mapping[str, Mapping[Conid, float]]
    master: str | None = None
    closed: tuple[str, ...] = ()
    split: Split | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A market and the accounts that hold a part of it.

    Attributes:
        options: The held options of each broker.
        holdings: A broker without holdings gives its options to its accounts itself.
    """

    market: Market
    options: Mapping[Broker, Sequence[SimulatedOption]]
    holdings: Mapping[Broker, Holdings] = field(default_factory=dict)
    imperfections: Imperfections = FLAWLESS


@dataclass(frozen=True, slots=True, kw_only=True)
class BookKind:
    """One of the books to choose from.

    Attributes:
        contracts: The usual number of held options of all brokers together.
        about: One line about the deliberate imperfections, for a person.
        make: Returns the book.
        ibkr_lines: Market-data lines at IBKR, `None` for no limit.
        positions_interval_s: How often a client should read the positions in order to
            see all that happens in a short session; `None` for its own interval.
    """

    contracts: int
    about: str
    make: Callable[[Plan], Book]
    ibkr_lines: int | None = None
    positions_interval_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size and the seed of a wanted book.

    Attributes:
        contracts: Held options of all brokers; one that two brokers hold counts twice.
    """

    contracts: int
    seed: int
    today: date
    brokers: tuple[Broker, ...]
