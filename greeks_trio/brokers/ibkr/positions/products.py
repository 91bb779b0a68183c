"""Futures products: IBKR's names of them, and the unit of their quotation.  Pure.

Sources: CME Group and ICE contract specifications; IBKR's "Contract Information" pages.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

# The exchange's root where IBKR has another name for the product.
_ROOTS: Final = {
    "AUD": "6A",
    "GBP": "6B",
    "CAD": "6C",
    "EUR": "6E",
    "JPY": "6J",
    "BRE": "6L",
    "MXP": "6M",
    "NZD": "6N",
    "RUR": "6R",
    "CHF": "6S",
    "ZAR": "6Z",
    "BRR": "BTC",
    "ETHUSDRR": "ETH",
    "SOFR1": "SR1",
    "SOFR3": "SR3",
    "VIX": "VX",
    "YC": "XC",
    "YK": "XK",
    "YW": "XW",
}
# One name of IBKR for products of several sizes, told apart by the multiplier.
_ROOTS_BY_SIZE: Final = {
    ("BRR", Decimal("0.1")): "MBT",
    ("ETHUSDRR", Decimal("0.1")): "MET",
    ("EUR", Decimal(62500)): "E7",
    ("JPY", Decimal(6250000)): "J7",
    ("SI", Decimal(1000)): "SIL",
    ("VIX", Decimal(100)): "VXM",
}
# The same of European products, in euros.
_EUROPEAN_ROOTS_BY_SIZE: Final = {
    ("DAX", Decimal(5)): "FDXM",
    ("DAX", Decimal(1)): "FDXS",
    ("ESTX50", Decimal(1)): "FSXE",
}
# Products that are quoted in cents: the dollars that one cent is worth in a contract.
# Brokers differ in the multiplier that they give, so this value tells the unit.
_DOLLARS_A_CENT: Final = {
    "ZC": 50, "ZW": 50, "ZS": 50, "KE": 50, "ZO": 50, "ZR": 20, "ZL": 600,
    "XC": 10, "XK": 10, "XW": 10, "MZC": 5, "MZW": 5, "MZS": 5, "MZL": 60,
    "LE": 400, "HE": 400, "GF": 500,
    "KC": 375, "CT": 500, "SB": 1120, "OJ": 150,
}  # fmt: skip
_IN_DOLLARS: Final = frozenset(
    """
    ES MES NQ MNQ YM MYM RTY M2K EMD NKD VX VXM
    ZB UB ZN TN ZF ZT ZQ SR1 SR3 2YY 5YY 10Y 30Y
    6A 6B 6C 6E 6J 6L 6M 6N 6S 6Z E7 J7 M6A M6B M6E MCD MJY MSF DX
    CL MCL QM BZ NG QG MNG RB HO MRB MHO
    GC MGC QO SI SIL QI HG MHG QC PL PA
    BTC MBT ETH MET ZM CC
    """.split()  # noqa: SIM905
)
# By how many months the month of the contract lies after that of its expiration.
_MONTHS_LATER: Final = {
    **dict.fromkeys(
        """
        ES MES NQ MNQ YM MYM RTY M2K EMD NKD VX VXM ZB UB ZN TN ZF ZT ZQ SR1
        6A 6B 6C 6E 6J 6L 6M 6N 6S 6Z E7 J7 M6A M6B M6E MCD MJY MSF DX
        GC MGC QO SI SIL QI HG MHG QC PL PA BTC MBT ETH MET
        ZC ZW ZS KE ZO ZR ZL ZM XC XK XW MZC MZW MZS MZL LE HE GF KC CT OJ CC
        """.split(),  # noqa: SIM905
        0,
    ),
    **dict.fromkeys("CL MCL QM NG QG MNG RB HO MRB MHO SB".split(), 1),  # noqa: SIM905
    "BZ": 2,
    "SR3": -3,
}
_CENT: Final = Decimal("0.01")
_WEEKLY: Final = frozenset(("VX", "VXM"))


def exchange_root(name: str, multiplier: Decimal | None) -> str:
    """Return the exchange's root of an American product that IBKR calls by this name."""
    by_size = None if multiplier is None else _ROOTS_BY_SIZE.get((name, multiplier))
    return by_size or _ROOTS.get(name, name)


def european_root(name: str, multiplier: Decimal | None) -> str:
    """Return the root of a product in euros; the usual size keeps IBKR's name."""
    if multiplier is None:
        return name
    return _EUROPEAN_ROOTS_BY_SIZE.get((name, multiplier), name)


def contract_month(root: str, expiration: date) -> tuple[int, int] | None:
    """Return year and month of the contract; `None` if the product is not known."""
    later = _MONTHS_LATER.get(root)
    if later is None:
        return None
    year, month = divmod(expiration.year * 12 + expiration.month - 1 + later, 12)
    return year, month + 1


def is_of_month(root: str, expiration: date | None) -> bool | None:
    """Return whether the future can be the one of its month, `None` if that is not known.

    Futures on the VIX expire every week.  That of the month expires 30 days before the
    third Friday of the next month, or one day earlier because of a holiday.
    """
    if root not in _WEEKLY:
        return True
    if expiration is None:
        return None
    year, month = divmod(expiration.year * 12 + expiration.month, 12)
    first = date(year, month + 1, 1)
    third_friday = first + timedelta((4 - first.weekday()) % 7 + 14)
    return 29 <= (third_friday - expiration).days <= 32


def product_price_factor(root: str, multiplier: Decimal | None) -> Decimal | None:
    """Return the dollars per quoted unit; `None` if the product is not known."""
    if root in _IN_DOLLARS:
        return Decimal(1)
    worth = _DOLLARS_A_CENT.get(root)
    if worth is None or not multiplier:
        return None
    factor = worth / multiplier
    return factor if factor in (1, _CENT) else None
