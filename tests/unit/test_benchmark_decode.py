"""`bin/bench decode`: every parser finds the Greeks of the frames."""

from __future__ import annotations

import pytest

from tests.benchmarks import decode
from tests.benchmarks.decode.frames import KINDS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_parser_finds_the_greeks(kind):
    found = decode.measure(kind, kind.frames(5), rounds=1)

    assert found.keys() == decode.PARSERS[kind.broker].keys()


def test_a_parser_that_misses_some_is_noticed(monkeypatch):
    monkeypatch.setitem(decode.PARSERS["ibkr"], "blind", lambda frames: len(frames) - 1)

    with pytest.raises(decode.WrongCount, match="blind: 4 Greeks in 5 frames"):
        decode.measure(KINDS[0], KINDS[0].frames(5), rounds=1)
