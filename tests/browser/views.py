"""The views of the page, each with an address that shows it, and the sizes of screens."""

from __future__ import annotations

from urllib.parse import urlencode

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

# No view: the page only stays live there.
NOWHERE = "/#/nothing"
VIEWS = {
    "book": "/#/book",
    "contracts": "/#/contracts",
    "contract": "/#/contract",
    "underlying": "/#/underlying?underlying=SPX",
    "what-if": "/#/what-if",
    "why": "/#/why",
    "brokers": "/#/brokers",
    "limits": "/#/limits",
    "health": "/#/health",
}

_AN_OPTION = """
select contract_key, broker, account_id from latest_greeks
where quantity is not null and delta is not null order by underlying = 'SPX' desc limit 1
"""


def address(service, name):
    """Return the address of a view: that of a contract names one that the service has."""
    if name != "contract":
        return service.url + VIEWS[name]
    [option] = service.fetch(_AN_OPTION)
    return f"{service.url}{VIEWS[name]}?{urlencode(option)}"
