"""Frames that no broker would send: any bytes, any JSON, and realistic frames bent.

Everything follows from a `random.Random`, so a seed and an index name one frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

# A text that `encode` writes into the frame without its quotes.
_RAW: Final = re.compile('"<raw:([^<>]*)>"')
# How often a frame has several MiB, or nests deeper than any parser likes.
HUGE_EVERY: Final = 15_000


def raw(token: str) -> str:
    """Return a value that is encoded as this very token, JSON or not."""
    return f"<raw:{token}>"


STRANGE_TEXTS: Final = (
    *("", " ", "NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "null", "None"),
    *("N/A", "-", "--", "C", "H", "C12.5", "H0", "CC1", "%", "31.4%", "-0%", "1e999%"),
    *("1,234", "1_000", "24.2M", "KM", "9e307B", "0x10", "١٢", "½", "1e5", "+1", ".5"),
    *(
        "\x00",
        "a\x00b",
        "\ud800",
        "x\udfffy",
        "\U0001f600",
        "\ufeff",
        "\u2028",
        "'",
        '"',
    ),
    *("true", "false", "smd+", "smd+7", "smd+9999999999999999999", "smd+7;;;1/-1"),
    *(
        "../..",
        "%s%n",
        "{}",
        "R",
        "DPB",
        "ZB",
        "q1",
        "Greeks",
        "eventSymbol",
        "a" * 5000,
    ),
)
STRANGE_NUMBERS: Final = (
    *(0, -0.0, 1, -1, 0.5, 1e-320, 5e-324, 1e308, -1.7976931348623157e308, 2**31),
    *(2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 1_790_000_000_000),
    *map(raw, ("1e400", "-1e400", "1e-400", "1E99999", "1e-99999", "1.0e+5", "-0")),
    *map(raw, ("NaN", "Infinity", "-Infinity", "00", "1.", "+1", "1e", "0.1e-9999")),
    *(raw("9" * 400), raw("9" * 5_000), raw("0." + "0" * 17_000 + "1")),
    *(raw("0." + "3" * 9_000 + "e-9999"), raw("7" * 70_000 + "e9999")),
)


def any_bytes(rng: Random) -> bytes:
    """Return up to some hundred bytes of anything, now and then of one kind."""
    size = int(rng.expovariate(0.02))
    if rng.random() < 0.3:
        return bytes(rng.choices(b'{}[]",:0123456789.eE+-\\u ntrf', k=size))
    return rng.randbytes(size)


def any_scalar(rng: Random, words: Sequence[str]) -> Any:
    """Return a JSON value that is no container."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(STRANGE_TEXTS)
        case 2 | 3:
            return rng.choice(STRANGE_NUMBERS)
        case 4:
            return rng.choice((None, True, False))
        case 5:
            return rng.choice(words)
        case 6:
            return "".join(map(chr, rng.choices(range(1, 0x3000), k=rng.randrange(20))))
    return rng.choice(
        (rng.uniform(-2, 2), rng.randrange(-1000, 1000), rng.gauss(0, 1e9))
    )


def any_json(rng: Random, words: Sequence[str], depth: int = 4) -> Any:
    """Return any JSON value, its keys and texts often from ``words``."""
    kind = rng.random()
    if depth == 0 or kind < 0.4:
        return any_scalar(rng, words)
    inner = partial(any_json, rng, words, depth - 1)
    if kind < 0.6:
        return [inner() for _ in range(rng.randrange(5))]
    return {
        str(
            rng.choice(words) if rng.random() < 0.8 else any_scalar(rng, words)
        ): inner()
        for _ in range(rng.randrange(7))
    }


def mutate(rng: Random, value: Any, words: Sequence[str]) -> Any:
    """Bend a JSON value in place, in one to four places, and return it."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        box = rng.choice(_containers(value))
        if isinstance(box, dict):
            _mutate_object(rng, box, words)
        elif isinstance(box, list):
            _mutate_list(rng, box, words)
        else:
            return any_json(rng, words)
    return value


def encode(rng: Random, value: Any) -> str:
    """Return the value as text; JSON, but for its raw tokens."""
    compact = rng.random() < 0.8
    text = json.dumps(
        value,
        ensure_ascii=rng.random() < 0.7,
        separators=(",", ":") if compact else (" , ", " : "),
    )
    return _RAW.sub(lambda found: found[1], text) if "<raw:" in text else text


def bend_text(rng: Random, data: bytes) -> bytes:
    """Return the frame cut, doubled, with flipped bits or with bytes that are no text."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0:
            return data[:at]
        case 1:
            return data[at:]
        case 2:
            return data[:at] + rng.choice(_BAD_UTF8) + data[at:]
        case 3:
            return data[:at] + data[rng.randrange(at + 1) :]
        case 4:
            return rng.choice((b"\xef\xbb\xbf", b" \r\n\t", b"\x00")) + data
        case 5:
            return data + rng.choice((b"\x00", b"]", b"}", data, b"\n"))
    flipped = bytearray(data)
    for _ in range(rng.randrange(1, 5) if data else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def huge(rng: Random, frame: dict[str, Any]) -> str:
    """Return a frame of several MiB, or one that nests without end."""
    size = rng.randrange(2**20, 6 * 2**20)
    key = rng.choice([*frame, "extra", "extra", "extra"])
    if rng.random() < 0.5:
        frame = frame | {"other": "a\x00b"}
    match rng.randrange(6):
        case 0:
            return json.dumps(frame | {key: "x" * size})
        case 1:
            return json.dumps(frame | {key: [1] * (size // 8)})
        case 2:
            return json.dumps(frame | {key: {str(n): n for n in range(size // 16)}})
        case 3:
            return encode(rng, frame | {key: raw("9" * size)})
        case 4:
            depth = rng.choice((500, 900, 3_000, 100_000))
            return encode(rng, frame | {key: raw("[" * depth + "]" * depth)})
    depth = rng.choice((400, 990, 20_000))
    return encode(rng, frame | {key: raw('{"a":' * depth + "1" + "}" * depth)})


_BAD_UTF8: Final = (b"\x99", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")


def _containers(value: Any) -> list[Any]:
    """Return the value and the objects and lists in it, at most some hundred."""
    found, waiting = [value], [value]
    while waiting and len(found) < 300:
        box = waiting.pop()
        items = box.values() if isinstance(box, dict) else box
        inner = [each for each in items if isinstance(each, dict | list)] if box else []
        found += inner
        waiting += inner
    return found


def _mutate_object(rng: Random, box: dict[str, Any], words: Sequence[str]) -> None:
    if not box or rng.random() < 0.1:
        box[str(rng.choice(words))] = any_json(rng, words, 2)
        return
    key = rng.choice(list(box))
    rng.choice(_OBJECT_MUTATIONS)(rng, box, key, words)


def _drop(_rng: Random, box: dict[str, Any], key: str, _words: Sequence[str]) -> None:
    del box[key]


def _rename(rng: Random, box: dict[str, Any], key: str, words: Sequence[str]) -> None:
    box[str(rng.choice(words))] = box.pop(key)


def _copy(rng: Random, box: dict[str, Any], key: str, words: Sequence[str]) -> None:
    box[str(rng.choice(words))] = box[key]


def _replace(rng: Random, box: dict[str, Any], key: str, words: Sequence[str]) -> None:
    box[key] = any_scalar(rng, words)


def _retype(rng: Random, box: dict[str, Any], key: str, words: Sequence[str]) -> None:
    value = box[key]
    box[key] = rng.choice(
        (str(value), [value], {"value": value}, None, any_json(rng, words, 2), [])
    )


def _swap(rng: Random, box: dict[str, Any], key: str, _words: Sequence[str]) -> None:
    other = rng.choice(list(box))
    box[key], box[other] = box[other], box[key]


_OBJECT_MUTATIONS: Final[Sequence[Callable[..., None]]] = (
    *(_drop, _rename, _copy, _swap),
    *(_replace, _replace, _replace),
    _retype,
)


def _mutate_list(rng: Random, box: list[Any], words: Sequence[str]) -> None:
    at = rng.randrange(len(box) + 1)
    match rng.randrange(6):
        case 0:
            box.insert(at, any_json(rng, words, 2))
        case 1:
            del box[at : at + rng.randrange(1, 4)]
        case 2:
            box[at:at] = box[at : at + rng.randrange(1, 15)]
        case 3:
            rng.shuffle(box)
        case 4:
            box[at : at + 1] = [any_scalar(rng, words)]
        case _:
            box[at : at + 1] = [box[at : at + 1]]
