"""The tables of the command `explain`."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from greeks_trio.api.routes.explain_schema import EXPLANATION
from greeks_trio.commands.explain import show


@pytest.mark.parametrize("amount", [999_999.0, -123_456_789.0])
def test_names_and_amounts_of_groups_fit_80_columns(amount):
    [answer] = EXPLANATION["examples"]
    [total] = answer["totals"]
    group = {"broker": "ibkr", "contract_key": "SPXW  261211C06705000"}
    sums = dict.fromkeys(("profit_loss", "delta", "trading", "residual"), amount)
    output = StringIO()

    show(
        {
            **answer,
            "group_by": "contract_key",
            "groups": [total | sums | {"group": group}],
        },
        console=Console(file=output, width=80, highlight=False, markup=False),
    )

    text = output.getvalue()
    shown = f"{amount:+,.0f}" if abs(amount) < 1e6 else f"{amount / 1000:+,.0f}"
    assert text.count(shown) == 4
    assert "261211C06705" in text
    assert ("(in 1,000)" in text) == (abs(amount) >= 1e6)
    assert max(map(len, text.splitlines())) <= 80
