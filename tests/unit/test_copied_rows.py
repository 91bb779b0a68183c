"""Numbers in the data of a COPY; tests/database/test_tick_store.py reads whole rows."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greeks_trio.postgres.tick_rows import _PACKED
from greeks_trio.spool.copied_rows import _numeric


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), places=9)
)
@example(Decimal("0.00001000"))
@example(Decimal("-0.5"))
@example(Decimal("100000000.5000"))
@example(Decimal(0))
def test_a_number_keeps_its_value_and_its_zeros(number):
    found = _numeric(_PACKED[str(number)])

    assert found == number
    assert f"{found:f}".removeprefix("-") == f"{number:f}".removeprefix("-")


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        _numeric(_PACKED["NaN"])
