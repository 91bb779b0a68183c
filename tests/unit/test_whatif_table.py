"""The tables of the command whatif fit into a terminal."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from greeks_trio.commands.whatif import show
from tests.unit.test_risk_scenarios import option, run, shares

MOVES = tuple(float(move) for move in range(-15, 16, 3))


def shown(width):
    answer = run(
        option(), shares(), moves=MOVES, vols=(-15.0, 0.0, 15.0), group_by="account_id"
    )
    file = io.StringIO()
    show(
        msgspec.json.decode(msgspec.json.encode(answer)),
        console=Console(file=file, width=width, highlight=False, markup=False),
    )
    return file.getvalue()


def row_of_profits(text):
    """Return the cells at the highest volatility."""
    [row] = [line.split() for line in text.splitlines() if line.split()[:1] == ["+15"]]
    return row


@pytest.mark.parametrize("width", [80, 200])
def test_no_number_is_cut(width):
    text = shown(width)

    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert len(row_of_profits(text)) == 1 + len(MOVES)


def test_a_narrow_terminal_gets_two_digits_and_a_wide_one_all():
    narrow, wide = (row_of_profits(shown(width)) for width in (80, 200))

    # A cut number would be a wrong one.
    assert row_of_profits(shown(30)) == narrow
    assert narrow[1:3] == ["5.6k", "4.1k"]
    assert [round(int(each.replace(",", "")), -2) for each in wide[1:3]] == [5600, 4100]


def test_no_position_is_said():
    file = io.StringIO()
    answer = msgspec.json.decode(msgspec.json.encode(run()))

    show(answer, console=Console(file=file, width=80))

    assert "No open position fits the filters." in file.getvalue()
