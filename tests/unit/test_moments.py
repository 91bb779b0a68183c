"""The moments that people type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from greeks_trio.commands.moments import parse_moment, parse_time

NOW = datetime(2026, 11, 30, 14, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T14:30Z", datetime(2026, 11, 20, 14, 30, tzinfo=UTC)),
        ("2026-11-20T09:30-05:00", datetime(2026, 11, 20, 14, 30, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20).astimezone()),
        ("2026-11-20 14:30", datetime(2026, 11, 20, 14, 30).astimezone()),
    ],
)
def test_a_time_without_a_zone_is_of_this_machine(text, moment):
    assert parse_moment(text, NOW) == moment


def test_a_time_of_day_is_the_last_one_that_is_past():
    local = NOW.astimezone()
    now = local.strftime("%H:%M:%S")
    before = f"{local.hour}:39"

    assert parse_moment(now, NOW) == NOW
    assert (NOW - parse_moment(before, NOW)).total_seconds() == 60
    assert (NOW - parse_moment(f"{local.hour:02}:41", NOW)).total_seconds() == 86_340


def test_other_words_are_refused():
    context, option = click.Context(click.Command("x")), click.Option(["--since"])
    for text in ("9:3", "25:00", "noon", "", "2026-13-01"):
        with pytest.raises(click.BadParameter, match="is no time: write it as"):
            parse_time(context, option, text)
    assert parse_time(context, option, None) is None


def test_the_words_for_days_mean_their_begin():
    today = parse_moment("today", NOW)

    assert (today.hour, today.minute) == (0, 0)
    assert today <= NOW < today + timedelta(hours=25)
    assert parse_moment("yesterday", NOW).date() == today.date() - timedelta(days=1)
