"""The meaning of each code of PostgreSQL; no error is recognised by its message."""

from __future__ import annotations

import psycopg
import pytest

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.postgres.failures import (
    Trouble,
    refuses_month,
    store_error,
    trouble_of,
)

CODES = {
    Trouble.ROW: "21000 22001 22003 22008 22021 22P02 22P05 23502 23505 23514 44000"
    " 54000 54001 P0001",
    Trouble.COLLISION: "40001 40P01",
    Trouble.OPERATOR: "0A000 0P000 28000 28P01 3D000 3F000 42501 42601 42703 42P01"
    " 57P04",
    Trouble.DATABASE: "08000 08001 08003 08006 08P01 25006 25P02 40003 53000 53100"
    " 53200 53300 55006 55P03 57014 57P01 57P02 57P03 57P05 58000 58030 58P01 F0000"
    " XX000 XX001 99999",
}


@pytest.mark.parametrize(
    ("trouble", "sqlstate"),
    [(trouble, code) for trouble, codes in CODES.items() for code in codes.split()],
)
def test_every_code_names_the_part_that_has_to_act(trouble, sqlstate):
    failure = psycopg.OperationalError("no")
    failure.sqlstate = sqlstate

    error = store_error(failure)

    assert trouble_of(sqlstate) is trouble
    expected = StoreRejected if trouble is Trouble.ROW else StoreUnavailable
    assert type(error) is expected
    assert error.sqlstate == sqlstate


def test_without_a_code_the_database_is_at_fault():
    assert trouble_of(None) is Trouble.DATABASE
    assert isinstance(store_error(psycopg.OperationalError("no")), StoreUnavailable)


@pytest.mark.parametrize("sqlstate", ["42501", "42P07", "42P16", "42P17", "23514"])
def test_an_error_about_one_month_refuses_that_month(sqlstate):
    assert refuses_month(sqlstate)


@pytest.mark.parametrize(
    "sqlstate",
    [
        "08006",
        "25006",
        "40P01",
        "42P01",
        "42703",
        "53100",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "58030",
        "XX000",
    ],
)
def test_an_error_about_the_database_refuses_no_month(sqlstate):
    assert not refuses_month(sqlstate)
    assert not refuses_month(None)
