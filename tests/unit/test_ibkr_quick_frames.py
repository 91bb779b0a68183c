from __future__ import annotations

import json
import random

import pytest

from greeks_trio.brokers.ibkr.wire import protocol
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.brokers.ibkr.wire.quick_frames import decode_quick

NOW_MS = 1_790_000_000_000
USUAL = {
    "topic": "smd+7",
    "conid": 7,
    "_updated": NOW_MS,
    "6119": "q0",
    "7308": "0.512",
    "7309": "0.0123",
    "7310": "-0.23",
    "7311": "0.98",
    "7633": "31.4%",
    "6509": "RpB",
    "31": "6.25",
    "84": "6.2",
    "86": "6.3",
    "7635": "6.24",
}
TEXTS = (
    *(
        "0.5",
        "-0.5",
        ".5",
        "1e-3",
        "0",
        "-0",
        "1,234.5",
        "24.2M",
        "C6.25",
        "H6",
        "31.4",
    ),
    *(
        "31.4%",
        "5 %",
        "",
        " ",
        "-",
        "N/A",
        "nan",
        "-inf",
        "1e400",
        "R",
        "ZB",
        "x",
        "1_0",
    ),
    *(0.5, 7, -1, True, None, [], {}, 10**30, "\u0661", "1.7976931348623157E308"),
)


def encode(frame):
    return json.dumps(frame).encode()


def random_frame(choices):
    frame = dict(USUAL)
    for key in choices.sample(list(USUAL)[3:], k=choices.randrange(len(USUAL) - 3)):
        del frame[key]
    for key in choices.sample(list(USUAL)[1:], k=choices.choice((0, 0, 1, 2))):
        frame[key] = choices.choice(TEXTS)
    if choices.random() < 0.3:
        frame["_updated"] = NOW_MS + choices.choice((-1000, 1000, 10**9, -(10**12)))
    if choices.random() < 0.1:
        frame |= choices.choice(
            (
                {"error": "x"},
                {"topic": "smd+7;;;1/-1"},
                {"topic": "smd+8"},
                {"topic": 5},
            )
        )
    return encode(frame)


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_way_finds_what_the_thorough_way_finds(monkeypatch, seed):
    choices = random.Random(seed)
    frames = [random_frame(choices) for _ in range(500)]
    quick = IbkrProtocol()
    found = [quick.receive_frame(frame, NOW_MS) for frame in frames]

    monkeypatch.setattr(protocol, "decode_quick", lambda _frame: None)
    thorough = IbkrProtocol()
    expected = [thorough.receive_frame(frame, NOW_MS) for frame in frames]

    assert found == expected
    prices = [
        each.underlying_price(7, "share", lambda _name: None)
        for each in (quick, thorough)
    ]
    assert prices[0] == prices[1]


def test_a_usual_frame_goes_the_quick_way():
    assert decode_quick(encode(USUAL)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"conid": "7"},
        {"_updated": "1790000000000"},
        {"error": None},
        {"topic": "system"},
        {"84": "1,234.5"},
        {"6509": "ä"},
    ],
)
def test_an_unusual_frame_does_not(changes):
    frame = json.dumps(USUAL | changes, ensure_ascii=False).encode()

    assert decode_quick(frame) is None
