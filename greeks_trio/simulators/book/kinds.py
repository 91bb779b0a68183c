"""The books to choose from, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.book.book import BookKind, BookName
from greeks_trio.simulators.book.real import CONTRACTS, make_real_book
from greeks_trio.simulators.book.textbook import make_textbook

BOOKS: Final[Mapping[BookName, BookKind]] = MappingProxyType(
    {
        "textbook": BookKind(
            contracts=200,
            about="Deliberate imperfections, as the real brokers have them: IBKR sends "
            "each first frame twice and some Greeks up to 2 s late; Tastytrade repeats "
            "events and leaves out single Greeks.",
            make=make_textbook,
        ),
        "real": BookKind(
            contracts=CONTRACTS,
            about="Deliberate imperfections, as the real brokers have them: IBKR sends "
            "each first frame twice, some Greeks late, a few options delayed, numbers "
            'that mean "unset", a position that nothing identifies, one contract under '
            "two numbers, rows without terms, and 100 lines for more contracts; "
            "Tastytrade repeats events, leaves out Greeks, never sends those of a few "
            "contracts, and has a position that nothing identifies too. After 6 s a split "
            "makes one option another one.",
            make=make_real_book,
            ibkr_lines=100,
            positions_interval_s=3.0,
        ),
    }
)
