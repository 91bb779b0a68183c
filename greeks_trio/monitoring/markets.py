"""The market of each option, by its exchange or its key.

===========  ======================================================================
equity       American options on shares and funds: the regular session, half-days
index        American options on Cboe's and Nasdaq's indices: 15 minutes longer
future       futures options of CME's exchanges: 17:00 to 16:00 in Chicago
grains       CME's options on grains, and livestock: the part of the day that all of
             them trade
others       see `MARKETS`: the exchanges under the names that the brokers give them
===========  ======================================================================

A contract of any other exchange has no hours: it never gives a warning, and the log and
the status say so.

Extensions of the hours are left out.  Some broad American funds trade a quarter of an hour
longer, but the list of these funds changes.  Cboe trades SPX, VIX, XSP and RUT from 20:15
to 9:15 and from 16:15 to 17:00 too, and Eurex trades some index options before 9:00 and
after 17:30.  Contracts without ticks for minutes are usual there, and a warning every night
would be of no use.

Source: the calendars of the exchanges in exchange-calendars; "Trading Hours" of Eurex,
CME Group and ICE.  American options follow the days of the New York Stock Exchange.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from greeks_trio.model.contracts import parse_occ, underlying_of_root


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The hours of one market.

    Attributes:
        calendar: The name of its calendar in the library.
        zone: Of the two times below.
        opens: The first moment of a day, where the calendar's is too early for options.
        closes: The last moment of a day, where the calendar's is too late.
        longer: Time after the end of the calendar.
    """

    calendar: str
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    opens: time | None = None
    closes: time | None = None
    longer: timedelta = timedelta(0)


_NEW_YORK: Final = ZoneInfo("America/New_York")
_CHICAGO: Final = ZoneInfo("America/Chicago")
_BERLIN: Final = ZoneInfo("Europe/Berlin")

MARKETS: Final[Mapping[str, Market]] = {
    "equity": Market(calendar="XNYS"),
    # The library has a calendar of Cboe, but it lacks some half-days.
    "index": Market(calendar="XNYS", longer=timedelta(minutes=15)),
    # The calendar lacks CME's hour of maintenance between two days.
    "future": Market(calendar="CMES", zone=_CHICAGO, closes=time(16)),
    "grains": Market(
        calendar="CMES", zone=_CHICAGO, opens=time(8, 30), closes=time(13, 5)
    ),
    "CFE": Market(calendar="XCBF"),
    # Cocoa, coffee, cotton, orange juice and sugar have hours of their own.
    "NYBOT": Market(calendar="IEPA", zone=_NEW_YORK, opens=time(8), closes=time(13)),
    "TSE": Market(calendar="XTSE"),
    # The calendar is that of the futures.
    "EUREX": Market(calendar="XEUR", zone=_BERLIN, opens=time(9), closes=time(17, 30)),
    "SOFFEX": Market(calendar="XSWX"),
    "LSE": Market(calendar="XLON"),
    "SBF": Market(calendar="XPAR"),
    "AEB": Market(calendar="XAMS"),
    "BELFOX": Market(calendar="XBRU"),
    "BVL": Market(calendar="XLIS"),
    "MEFFRV": Market(calendar="XMAD"),
    "IDEM": Market(calendar="XMIL"),
    "SFB": Market(calendar="XSTO"),
    "CPH": Market(calendar="XCSE"),
    "HEX": Market(calendar="XHEL"),
    "OSL": Market(calendar="XOSL"),
    "VSE": Market(calendar="XWBO"),
    "WSE": Market(calendar="XWAR"),
    "IBIS": Market(calendar="XETR"),
    "HKFE": Market(calendar="XHKG"),
    "OSE.JPN": Market(calendar="XTKS"),
    "SGX": Market(calendar="XSES"),
    "NSE": Market(calendar="XBOM"),
    "ASX": Market(calendar="XASX"),
}
# The market of each exchange, by the names of IBKR and of dxFeed (ISO 10383).  Korea is
# left out, because its calendar takes many seconds to make.
_MARKET_BY_EXCHANGE: Final[Mapping[str, str]] = {
    name: market
    for market, names in {
        # Options that share their OCC symbol with another one have a key of their broker.
        "equity": "AMEX ARCA BATS BOX CBOE CBOE2 EDGX ISE MIAX NASDAQ NASDAQOM NYSE PHLX"
        " PSE",
        "future": "CME CBOT NYMEX COMEX GLOBEX ECBOT XCME XCBT XNYM XCEC CMES GLBX",
        "CFE": "CFE XCBF",
        "NYBOT": "NYBOT IFUS ICEUS",
        "TSE": "TSE CDE VENTURE XTSE XMOD XTSX",
        "EUREX": "EUREX DTB EUREXUK XEUR",
        "SOFFEX": "SOFFEX EBS VIRTX SWX XSWX",
        "LSE": "LSE LSEETF LSEIOB1 ICEEU LIFFE IPE XLON IFLL IFEU",
        "SBF": "MONEP SBF MATIF XPAR XMON",
        "AEB": "FTA AEB XAMS",
        "BELFOX": "BELFOX ENEXT.BE XBRU",
        "BVL": "BVL XLIS",
        "MEFFRV": "MEFFRV BM XMAD XMRV",
        "IDEM": "IDEM BVME BVME.ETF XMIL XDMI",
        "SFB": "SFB OMS XSTO",
        "CPH": "CPH XCSE",
        "HEX": "HEX XHEL",
        "OSL": "OSE OSL XOSL",
        "VSE": "VSE XWBO",
        "WSE": "WSE XWAR",
        "IBIS": "IBIS IBIS2 XETR",
        "HKFE": "HKFE SEHK HKEX XHKG",
        "OSE.JPN": "OSE.JPN TSEJ XTKS XOSE",
        "SGX": "SGX XSES",
        "NSE": "NSE BSE XBOM",
        "ASX": "ASX SNFE XASX XSFE",
    }.items()
    for name in names.split()
}
_INDICES: Final = frozenset(
    ("SPX", "XSP", "VIX", "RUT", "MRUT", "DJX", "NDX", "XND", "OEX", "XEO")
)
_FUTURE_OPTION: Final = re.compile(r"\./([A-Z0-9]+)")
# CME's classes of options on grains and livestock.
_GRAINS: Final = re.compile(r"O?(ZC|ZS|ZW|ZM|ZL|ZO|ZR|KE|LE|HE|GF)\d?")


# More than there are contracts: a smaller one would forget each before its next use.
@lru_cache(maxsize=50_000)
def market_of(contract_key: str, exchange: str | None = None) -> str | None:
    """Return the market of an option, `None` if its hours are not known.

    The OCC clears American options only, so their keys need no exchange.  A futures
    option whose broker names no exchange is taken for one of CME's.
    """
    try:
        root = parse_occ(contract_key).root
    except ValueError:
        return _market_of_exchange(contract_key, exchange)
    return "index" if underlying_of_root(root) in _INDICES else "equity"


def _market_of_exchange(contract_key: str, exchange: str | None) -> str | None:
    name = "" if exchange is None else exchange.strip().upper()
    found = _FUTURE_OPTION.match(contract_key)
    if found is None:
        return _MARKET_BY_EXCHANGE.get(name)
    market = _MARKET_BY_EXCHANGE.get(name or "CME")
    is_grain = _GRAINS.fullmatch(found[1]) is not None
    return "grains" if market == "future" and is_grain else market
