"""``quarantine`` with texts that try to control the terminal, and with journal entries."""

from __future__ import annotations

import json

import pytest

from greeks_trio.commands.quarantine import retry_quarantine, show_quarantine
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot
from greeks_trio.spool.directory import QUARANTINE_FILE
from greeks_trio.spool.quarantine import QuarantineFile
from tests.factories import START, make_position, make_tick

ODD = "closed for [/desk-7] [bold]\x1b]0;title\x07 [no_row]"


@pytest.fixture
def file(tmp_path):
    with QuarantineFile(tmp_path / QUARANTINE_FILE) as file:
        yield file


def test_foreign_text_is_never_markup(tmp_path, file, capsys):
    file.add(make_tick(account_id="[/x]\x1b[2J"), sqlstate="P0001", reason=ODD)
    gap = FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
    file.add_entry(gap, sqlstate="23514", reason=ODD)

    show_quarantine(tmp_path, as_json=False)

    out = capsys.readouterr().out
    for shown in ("[/desk-7]", "[bold]", "[no_row]", "[/x]", "FeedGap"):
        assert shown in out
    assert not {"\x1b", "\x07"} & set(out)


def test_journal_entries_are_lines_of_json_too(tmp_path, file, capsys):
    gap = FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
    file.add_entry(gap, sqlstate="42501", reason="no right")

    show_quarantine(tmp_path, as_json=True)

    line = json.loads(capsys.readouterr().out)
    assert (line["kind"], line["reason"]) == ("FeedGap", "no right")
    assert line["entry"]["reason"] == "silence"


async def test_journal_entries_are_offered_again(tmp_path, file, database, capsys):
    def alone(position):
        return PositionsSnapshot(
            broker="ibkr", account_ids=(), positions=(position,), observed_at=START
        )

    for entry in (
        FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE),
        LeftoverGaps(broker="ibkr", own=(), ended_at=START),
        alone(make_position()),
        alone(make_position(contract_key="")),
    ):
        file.add_entry(entry, sqlstate="42501", reason="no right")
    file.add(make_tick(), sqlstate="23514", reason="too small")

    assert await retry_quarantine(tmp_path, database) == 1

    out = capsys.readouterr().out
    assert "quarantine: stored 4, 1 remain" in out
    [left] = file.entries()
    assert left.entry.positions[0].contract_key == ""
