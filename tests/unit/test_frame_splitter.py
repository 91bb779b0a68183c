from __future__ import annotations

import random

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, Pong

from greeks_trio.feeds.wire.splitter import FrameSplitter

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def opened(longest=2**16):
    splitter = FrameSplitter(longest)
    splitter.feed(HEAD)
    assert splitter.take() == ([], HEAD, False)
    return splitter


def frame(payload, kind=0x82):
    """Return one frame of a server."""
    if isinstance(payload, str):
        payload, kind = payload.encode(), 0x81 if kind == 0x82 else kind
    size = len(payload)
    if size < 126:
        return bytes([kind, size]) + payload
    if size < 2**16:
        return bytes([kind, 126]) + size.to_bytes(2, "big") + payload
    return bytes([kind, 127]) + size.to_bytes(8, "big") + payload


def take_all(splitter):
    """Return all messages, the bytes for the library, and how many messages it ends."""
    messages, rest, ended = [], b"", 0
    while True:
        split = splitter.take()
        messages += split.messages
        rest += split.rest
        ended += split.is_message
        if not split.rest:
            return messages, rest, ended


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_messages_of_each_length_are_cut_out(size):
    splitter = opened()

    splitter.feed(frame(b"x" * size) + frame("y" * size))

    assert take_all(splitter) == ([b"x" * size, "y" * size], b"", 0)


def test_a_frame_that_comes_in_parts_is_one_message():
    splitter = opened()
    data = frame("ä" * 200)
    for byte in data[:-1]:
        splitter.feed(bytes([byte]))
        assert take_all(splitter) == ([], b"", 0)

    splitter.feed(data[-1:])

    assert take_all(splitter) == (["ä" * 200], b"", 0)


@pytest.mark.parametrize("cut", range(len(HEAD) + 1))
def test_the_head_of_the_answer_is_for_the_library(cut):
    splitter = FrameSplitter()
    found = []
    for part in (HEAD[:cut], HEAD[cut:] + frame(b"first")):
        splitter.feed(part)
        found.append(take_all(splitter))

    assert b"".join(rest for _, rest, _ in found) == HEAD
    assert found[-1][0] == [b"first"]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\n",
        b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 1010\r\n\r\n",
    ],
)
def test_without_an_upgrade_everything_is_for_the_library(head):
    splitter = FrameSplitter()
    splitter.feed(head)
    first = take_all(splitter)
    splitter.feed(frame(b"no frame"))

    assert first[1] + take_all(splitter)[1] == head + frame(b"no frame")


def test_control_frames_are_for_the_library_between_messages_that_are_not():
    splitter = opened()
    ping, close = frame(b"ping", 0x89), frame(b"\x03\xe8", 0x88)

    splitter.feed(frame(b"1") + ping + frame(b"2") + close)

    assert take_all(splitter) == ([b"1", b"2"], ping + close, 0)


def test_a_message_in_fragments_is_for_the_library_and_counted_at_its_end():
    splitter = opened()
    parts = [frame(b"a", 0x02), frame(b"", 0x89), frame(b"b", 0x00), frame(b"c", 0x80)]

    splitter.feed(b"".join(parts) + frame(b"whole"))
    ends = []
    for part in parts:
        split = splitter.take()
        assert (split.messages, split.rest) == ([], part)
        ends.append(split.is_message)

    assert ends == [False, False, False, True]
    assert take_all(splitter) == ([b"whole"], b"", 0)


def test_a_long_message_is_for_the_library_part_by_part():
    splitter = opened(longest=100)
    long = frame(b"x" * 101)
    found = []
    for part in (long[:50], long[50:] + frame(b"short")):
        splitter.feed(part)
        found.append(take_all(splitter))

    assert [rest for _, rest, _ in found] == [long[:50], long[50:]]
    assert [ended for _, _, ended in found] == [0, 1]
    assert found[-1][0] == [b"short"]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x81\x02\xff\xff",  # no UTF-8
        b"\x82\x85\0\0\0\0hello",  # masked
        b"\x82\x7e\x00\x05hello",  # a shorter form of the length would do
        b"\x82\x7f" + (5).to_bytes(8, "big") + b"hello",
        b"\x82\x7f" + b"\xff" * 8,
        b"\x02\x01a" + frame(b"inside of fragments"),
    ],
)
def test_what_breaks_the_rules_is_for_the_library_with_all_that_follows(broken):
    splitter = opened()

    splitter.feed(frame(b"good") + broken + frame(b"behind"))

    messages, rest, _ = take_all(splitter)
    assert messages == [b"good"]
    assert rest == broken + frame(b"behind")


def test_together_with_the_library_it_finds_what_the_library_finds_alone():
    choices = random.Random(14)
    for _ in range(200):
        data = b"".join(
            choices.choice(
                (
                    frame(choices.randbytes(choices.choice((0, 5, 300, 70_000)))),
                    frame("text"),
                    frame(b"p", 0x89),
                    frame(b"a", 0x02) + frame(b"b", 0x80),
                )
            )
            for _ in range(8)
        )
        splitter, library = opened(), Connection(ConnectionType.CLIENT)
        found = []
        cuts = sorted(choices.choices(range(len(data) + 1), k=5))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            splitter.feed(data[start:end])
            while True:
                messages, rest, _ = splitter.take()
                found += messages
                if not rest:
                    break
                library.receive_data(rest)
                found += events_of(library)
        alone = Connection(ConnectionType.CLIENT)
        alone.receive_data(data)

        assert joined(found) == joined(events_of(alone))


def events_of(connection):
    """Return the payload of each event; parts of a message in a list."""
    found = []
    for event in connection.events():
        assert not isinstance(event, CloseConnection)
        if isinstance(event, Message):
            found.append([event.data, event.message_finished])
        else:
            assert isinstance(event, Ping | Pong)
            found.append(bytes(event.payload))
    return found


def joined(found):
    """Return messages in one piece, without their kind."""
    whole, parts = [], []
    for each in found:
        if isinstance(each, list):
            parts.append(each[0])
            if each[1]:
                whole.append(parts[0][:0].join(parts))
                parts = []
        else:
            whole.append(each)
    return [
        bytes(each, "utf-8") if isinstance(each, str) else bytes(each) for each in whole
    ]
