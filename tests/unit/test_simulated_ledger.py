from __future__ import annotations

import pytest

from greeks_trio.simulators.ledger import Ledger, LedgerTick, read_ledger


def make_tick(number: int = 0) -> LedgerTick:
    return LedgerTick(
        broker="ibkr",
        account_id="DU1",
        contract_key="SPY   260116C00600000",
        event_time_ms=1_700_000_000_000 + number,
        delta=0.518,
        gamma=0.077,
        theta=-0.622,
        vega=None,
        rho=None,
        implied_volatility=float("31.4") / 100,
        sent_monotonic=12.5,
    )


def test_written_ticks_are_read_back_to_the_last_bit(tmp_path):
    ticks = [make_tick(number) for number in range(5)]

    with Ledger(tmp_path / "ledger") as ledger:
        ledger.write(ticks[:2])
        ledger.write([])
        ledger.write(ticks[2:])

    assert list(read_ledger(tmp_path / "ledger")) == ticks


def test_a_line_is_on_disk_before_write_returns(tmp_path):
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.write([make_tick()])

        assert list(read_ledger(tmp_path / "ledger")) == [make_tick()]


def test_a_second_ledger_of_the_same_file_goes_on_after_the_first(tmp_path):
    for number in range(2):
        with Ledger(tmp_path / "ledger") as ledger:
            ledger.write([make_tick(number)])

    assert list(read_ledger(tmp_path / "ledger")) == [make_tick(0), make_tick(1)]


def test_without_a_file_it_only_counts():
    with Ledger(None) as ledger:
        ledger.write([make_tick(), make_tick()])

        assert ledger.ticks == 2


def test_only_the_owner_may_read_the_file(tmp_path):
    with Ledger(tmp_path / "ledger"):
        assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o600


def test_closing_twice_is_harmless(tmp_path):
    ledger = Ledger(tmp_path / "ledger")

    ledger.close()
    ledger.close()

    with pytest.raises(FileNotFoundError):
        next(read_ledger(tmp_path / "another"))
