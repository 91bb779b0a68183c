"""The futures of the real book and the options on them, in every spelling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Final

from greeks_trio.simulators.book.dates import (
    FRIDAY,
    MONDAY,
    THURSDAY,
    coming_month,
    month_after,
    month_code,
    nth_weekday,
    quarter_month,
    third_friday,
)
from greeks_trio.simulators.book.future_options import FutureOption, Product
from greeks_trio.simulators.book.makers import Maker
from greeks_trio.simulators.market import SimulatedOption, Underlying

ES: Final = Product(
    root="ES",
    ibkr="ES",
    exchange="CME",
    streamer_exchange="XCME",
    multiplier=Decimal(50),
    price=6705.0,
    index_conid=11_004_968,
)
MES: Final = Product(
    root="MES",
    ibkr="MES",
    exchange="CME",
    streamer_exchange="XCME",
    multiplier=Decimal(5),
    price=6705.0,
    index_conid=11_004_968,
)
MNQ: Final = Product(
    root="MNQ",
    ibkr="MNQ",
    exchange="CME",
    streamer_exchange="XCME",
    multiplier=Decimal(2),
    price=24_600.0,
)
MYM: Final = Product(
    root="MYM",
    ibkr="MYM",
    exchange="CBOT",
    streamer_exchange="XCBT",
    multiplier=Decimal("0.5"),
    price=47_000.0,
)
EUR: Final = Product(
    root="6E",
    ibkr="EUR",
    exchange="CME",
    streamer_exchange="XCME",
    multiplier=Decimal(125_000),
    price=1.1034,
    decimals=5,
)
ZN: Final = Product(
    root="ZN",
    ibkr="ZN",
    exchange="CBOT",
    streamer_exchange="XCBT",
    multiplier=Decimal(1000),
    price=112.765625,
    decimals=6,
)
ZC: Final = Product(
    root="ZC",
    ibkr="ZC",
    exchange="CBOT",
    streamer_exchange="XCBT",
    multiplier=Decimal(5000),
    price=450.25,
    in_cents=True,
)
CL: Final = Product(
    root="CL",
    ibkr="CL",
    exchange="NYMEX",
    streamer_exchange="XNYM",
    multiplier=Decimal(1000),
    price=61.4,
)


@dataclass(frozen=True, slots=True)
class Futures:
    """The instruments that `make_futures` made.

    Attributes:
        calendar: The near and the far future of one product.
        held: Futures that both brokers' accounts hold.
        both: Options that both brokers' accounts hold.
        filling: Yields further options on the near future, without end.
    """

    calendar: tuple[Underlying, Underlying]
    held: tuple[Underlying, ...]
    at_tastytrade: tuple[Underlying, ...]
    both: tuple[SimulatedOption, ...]
    ibkr: tuple[SimulatedOption, ...]
    tastytrade: tuple[SimulatedOption, ...]
    filling: Iterator[SimulatedOption]


def make_futures(maker: Maker, today: date) -> Futures:
    """Make the futures and the options on them."""
    # Every weekly option of the book expires before the near future.
    weekly = coming_month(today, THURSDAY, 2)
    near = quarter_month(month_after(weekly, 2))
    far = month_after(near, 3)
    es, es_far = _future(maker, ES, near), _future(maker, ES, far)
    mes = _future(maker, MES, near)
    mnq, mym = _future(maker, MNQ, near), _future(maker, MYM, near)
    euro, note = _future(maker, EUR, near), _future(maker, ZN, near)
    corn = _future(maker, ZC, near)
    # Trading in oil of a month ends in the month before.
    oil = maker.future(CL, month_after(weekly, 1), nth_weekday(weekly, FRIDAY, 4))
    third = third_friday(weekly)
    both = (
        _option(maker, mes, MES, "EX3", third, "7100"),
        _option(maker, es, ES, "E2D", nth_weekday(weekly, THURSDAY, 2), "6700"),
        _option(maker, euro, EUR, "EUU", nth_weekday(weekly, FRIDAY, 2), "1.1"),
        # NYMEX has strikes below zero.
        maker.future_option(_oil(oil, weekly, strike="-5")),
    )
    at_ibkr = (
        # The quarterly class has the name of the product, and IBKR does not write it.
        maker.future_option(_quarterly(mes, MES, near, "7000")),
        maker.future_option(_quarterly(es, ES, near, "6750", has_text_conid=True)),
        _option(maker, note, ZN, "ZN2", nth_weekday(weekly, FRIDAY, 2), "112.75"),
        maker.future_option(_oil(oil, weekly, strike="56")),
        maker.future_option(_corn(corn, near)),
        # Every read of the positions leaves its terms out.
        maker.future_option(
            _weekly(mes, MES, "EX4", nth_weekday(weekly, FRIDAY, 4), is_cold=True)
        ),
        maker.future_option(
            _weekly(es, ES, "E3A", nth_weekday(weekly, MONDAY, 3), is_cold=True)
        ),
    )
    at_tastytrade = (
        maker.future_option(_long_years(mnq, third)),
        _option(maker, mym, MYM, "MYM", third_friday(near), "45000", right="P"),
        _option(maker, es_far, ES, "ES", third_friday(far), "7000"),
    )
    return Futures(
        (es, es_far),
        (euro, corn, oil),
        (mym,),
        both,
        at_ibkr,
        at_tastytrade,
        _filling(maker, weekly, (es, ES, "E{}D"), (mes, MES, "EX{}")),
    )


def _future(maker: Maker, product: Product, month: date) -> Underlying:
    return maker.future(product, month, third_friday(month))


def _option(
    maker: Maker,
    future: Underlying,
    product: Product,
    root: str,
    expiration: date,
    strike: str,
    *,
    right: str = "C",
) -> SimulatedOption:
    return maker.future_option(
        FutureOption(
            future=future,
            product=product,
            root=root,
            expiration=expiration,
            right="C" if right == "C" else "P",
            strike=Decimal(strike),
            spelling="none" if root == product.ibkr else "class",
        )
    )


def _quarterly(
    future: Underlying,
    product: Product,
    month: date,
    strike: str,
    *,
    has_text_conid: bool = False,
) -> FutureOption:
    return FutureOption(
        future=future,
        product=product,
        root=product.root,
        expiration=third_friday(month),
        right="C",
        strike=Decimal(strike),
        spelling="none",
        has_text_conid=has_text_conid,
    )


def _weekly(
    future: Underlying, product: Product, root: str, day: date, *, is_cold: bool
) -> FutureOption:
    return FutureOption(
        future=future,
        product=product,
        root=root,
        expiration=day,
        right="P",
        strike=Decimal(6400),
        is_always_cold=is_cold,
        has_text_conid=is_cold,
    )


def _oil(future: Underlying, month: date, *, strike: str) -> FutureOption:
    """Return an option of the next contract month: it expires a month before."""
    contract = month_after(month, 1)
    code = f"LO{month_code(contract)}{contract.year % 10}"
    cents = int(Decimal(strike) * 100)
    return FutureOption(
        future=future,
        product=CL,
        root="LO",
        expiration=nth_weekday(month, THURSDAY, 3),
        right="P",
        strike=Decimal(strike),
        spelling="bracket",
        month=contract,
        bracket=f"{code} P{cents}",
        # Only the position names its streamer symbol.
        is_page_lean=True,
    )


def _corn(future: Underlying, month: date) -> FutureOption:
    """Return an option that is quoted in cents."""
    code = f"OZC{month_code(month)}{month.year % 10}"
    return FutureOption(
        future=future,
        product=ZC,
        root="OZC",
        expiration=nth_weekday(month_after(month, -1), FRIDAY, 4),
        right="C",
        strike=Decimal(450),
        spelling="bracket",
        month=month,
        bracket=f"{code} C450",
    )


def _long_years(future: Underlying, day: date) -> FutureOption:
    """Return an option whose symbol has years of two digits."""
    return FutureOption(
        future=future,
        product=MNQ,
        root="D4A",
        expiration=day,
        right="C",
        strike=Decimal(24_575),
        long_years=True,
        position_streamer_symbol="absent",
    )


def _filling(
    maker: Maker, month: date, *series: tuple[Underlying, Product, str]
) -> Iterator[SimulatedOption]:
    """Make weekly options at strikes near the money, as most accounts hold them."""
    weekdays = {"E{}D": THURSDAY, "EX{}": FRIDAY}
    for step in count():
        for future, product, pattern in series:
            for week in (1, 2, 3, 4):
                day = nth_weekday(month_after(month, 1), weekdays[pattern], week)
                strike = round(future.price / 5) * 5 + (step % 2 * 2 - 1) * 5 * step
                yield _option(
                    maker,
                    future,
                    product,
                    pattern.format(week),
                    day,
                    str(strike),
                    right="P" if step % 3 else "C",
                )
