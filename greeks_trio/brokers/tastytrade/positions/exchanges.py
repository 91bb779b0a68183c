"""The exchanges of the futures that Tastytrade lists, as dxFeed's symbols name them.

Only a symbol that Tastytrade does not tell needs them.

Source: CME Group and Cboe product lists; ISO 10383.
"""

from __future__ import annotations

from typing import Final

_ROOTS_BY_EXCHANGE: Final = {
    # Chicago Mercantile Exchange
    "XCME": """
        ES MES NQ MNQ RTY M2K EMD NKD NIY SP
        6A 6B 6C 6E 6J 6L 6M 6N 6S 6Z M6A M6B M6E M6C M6J M6S MCD MJY MSF E7 J7
        GE SR1 SR3 HE LE GF DC LBR
        BTC MBT BFF ETH MET SOL MSL XRP MXP
    """,
    # Chicago Board of Trade
    "XCBT": """
        YM MYM ZB ZN ZF ZT UB TN ZQ 2YY 5YY 10Y 30Y
        ZC ZS ZW ZL ZM ZO ZR KE XC XK XW MZC MZS MZW MZL MZM
    """,
    # New York Mercantile Exchange
    "XNYM": "CL MCL QM NG QG MNG RB HO BZ MHO MRB PA PL",
    # Commodity Exchange
    "XCEC": "GC MGC QO 1OZ SI SIL QI HG MHG QC ALI",
    # Cboe Futures Exchange
    "XCBF": "VX VXM",
}

# The exchange's code (ISO 10383) by the root of the product.
EXCHANGE_BY_ROOT: Final = {
    root: exchange
    for exchange, roots in _ROOTS_BY_EXCHANGE.items()
    for root in roots.split()
}
