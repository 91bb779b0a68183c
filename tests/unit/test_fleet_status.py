"""The table of a fleet for people, and its exit status."""

from __future__ import annotations

import msgspec
import pytest

from greeks_trio.commands.ask import NoAnswer
from greeks_trio.commands.fleet_status import show_fleet

URL = "http://127.0.0.1:8070"
SERVICE = {
    "health": "healthy",
    "problems": [],
    "warnings": [],
    "sessions": [{"broker": "ibkr", "status": "connected"}],
    "no_answer_since": None,
    "ticks_per_second": 20.3,
    "newest_tick_age_s": 1.6,
    "restarts": 0,
    "url": "http://127.0.0.1:5001",
}
SILENT = SERVICE | {
    "health": "down",
    "problems": ["no answer since 2026-11-30 23:00:00 UTC: ended by SIGKILL"],
    "no_answer_since": "2026-11-30T23:00:00Z",
    "ticks_per_second": None,
    "restarts": 3,
}


def answer(health, **services):
    summary = {"health": health, "ready": 1, "services": len(services)}
    return msgspec.json.encode({"summary": summary, "services": services})


def test_a_silent_service_is_in_the_table_with_its_reason(capsys):
    status = show_fleet(URL, answer("down", a=SERVICE, b=SILENT), as_json=False)

    first, second, *table = capsys.readouterr().out.splitlines()
    assert status == 2
    assert first == f"the fleet at {URL} is down: 1 of 2 services are ready"
    assert second == "  - b: no answer since 2026-11-30 23:00:00 UTC: ended by SIGKILL"
    [of_a] = [line.split() for line in table if line.startswith(" a   ")]
    assert of_a == ["a", "healthy", "ibkr", "connected", "20.3", "1.6", "s", "ago", "0"]
    [of_b] = [line.split() for line in table if line.startswith(" b   ")]
    assert of_b[1:6] == ["down", "ibkr", "connected", "(old)", "-"]
    assert " b  http://127.0.0.1:5001" in [line.rstrip() for line in table]


@pytest.mark.parametrize(("health", "status"), [("healthy", 0), ("degraded", 1)])
def test_the_exit_status_is_that_of_the_worst_service(capsys, health, status):
    assert show_fleet(URL, answer(health, a=SERVICE), as_json=True) == status

    shown = msgspec.json.decode(capsys.readouterr().out)
    assert shown["verdict"] == health
    assert shown["services"] == {"a": SERVICE}


@pytest.mark.parametrize("content", [b"[]", b"{}", b"<html>", b'{"summary": 1}'])
def test_the_answer_of_another_program_is_named(content):
    with pytest.raises(NoAnswer, match="not greeks_trio"):
        show_fleet(URL, content, as_json=False)
