"""Findings about the server that no test can bring about on a real one in time."""

import pytest

from greeks_trio.postgres.inspect_session import _transaction_ids


@pytest.mark.parametrize(
    ("age", "verdict"),
    [(150, "fine"), (1_000_000_000, "fine"), (1_500_000_000, "warning")],
)
def test_a_server_that_runs_out_of_transaction_ids_is_named_in_time(age, verdict):
    finding = _transaction_ids(age)

    assert finding.verdict == verdict
    assert f"{age:,}" in finding.sentence
    assert (finding.remedy is None) == (verdict == "fine")
