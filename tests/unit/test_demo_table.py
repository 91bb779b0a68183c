"""The tables that the demo prints."""

import io

from rich.console import Console

from greeks_trio.commands import demo_table


def test_the_comparison_has_whole_headings_in_a_terminal_of_80_columns(monkeypatch):
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(demo_table, "Console", lambda **_: console)
    names = ("sent", "persisted", "lost", "duplicates", "unexpected", "quarantined")
    counts = {**dict.fromkeys(names, 0), "sent": 21_234_567, "persisted": 21_234_567}
    rest = {"first_row_s": 1.0, "latency_ms": {}, "age_ms": {}}

    display = demo_table.Display(as_json=False)
    display.result(
        {**counts, **rest, "brokers": {"ibkr": counts, "tastytrade": counts}}
    )

    shown = console.file.getvalue()
    assert all(name in shown for name in (*names, "tastytrade", "21,234,567"))
    assert "…" not in shown
