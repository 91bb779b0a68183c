"""The registry of conditions: one sentence each, logged when it changes."""

import logging

import pytest

from greeks_trio.model.condition_kinds import ConditionKind, Severity
from greeks_trio.pipeline.conditions import Conditions

STUCK = ConditionKind.JOURNAL_STUCK


def test_a_condition_has_its_newest_sentence_and_is_logged_once(caplog):
    conditions = Conditions()

    conditions.begin(STUCK, "gaps wait for 60 s")
    conditions.begin(STUCK, "gaps wait for 120 s")

    assert conditions.sentences(Severity.NOT_READY) == ["gaps wait for 120 s"]
    assert conditions.sentences(Severity.DEGRADED) == []
    assert conditions.counts()["journal stuck"] == 1
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage() == (
        "condition.began kind=journal_stuck reason=gaps wait for 60 s"
    )


def test_subjects_are_told_apart_and_end_one_by_one(caplog):
    conditions = Conditions()
    conditions.begin(STUCK, "a waits", subject="a")
    conditions.begin(STUCK, "b waits", subject="b")

    conditions.end(STUCK, subject="a")
    conditions.end(STUCK, subject="a")

    assert conditions.sentences(Severity.NOT_READY) == ["b waits"]
    assert conditions.counts()["journal stuck"] == 1
    ended = [each for each in caplog.messages if each.startswith("condition.ended")]
    assert ended == ["condition.ended kind=journal_stuck subject=a"]


@pytest.mark.parametrize("kind", ConditionKind)
def test_every_kind_explains_itself_in_sentences(kind):
    assert kind.explanation.endswith(".")
    assert kind.remedy.endswith(".")
