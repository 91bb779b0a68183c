"""Bytes of a websocket -> the usual messages, and the bytes for the library.  Pure.

A usual message is one unfragmented, unmasked frame that is complete in memory.  The
library needs some 20 microseconds for each one, and a feed has little else than these.  So
they are cut out here, and the library gets the rest: the answer to the upgrade, control
frames, fragments, long frames, and everything that breaks the rules.

Source: RFC 6455, section 5.2
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# A longer message goes to the library, which reads it in parts.
LONGEST: Final = 2**16
# The end of the head of an answer, as h11 finds it.
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_SWITCHES: Final = re.compile(rb"HTTP/1\.1 101\b")
_LONGEST_HEAD: Final = 2**16

# The first byte of a frame: the bit for the last frame of a message, and the kind.
_IS_LAST: Final = 0x80
_TEXT, _BINARY = _IS_LAST | 0x1, _IS_LAST | 0x2
_FIRST_CONTROL: Final = 0x8
# Values of the second byte from which on the length is in the next 2 or 8 bytes; the
# frame is masked beyond the last one.
_TWO_BYTES, _EIGHT_BYTES = 126, 127


class Split(NamedTuple):
    """The next messages, and the bytes behind them.

    Attributes:
        messages: In the order in which they came.
        rest: Bytes for the library.  Without any, more data are needed.
        is_message: Whether a message of the library ends with these bytes.
    """

    messages: list[bytes | str]
    rest: bytes
    is_message: bool


class FrameSplitter:
    """Splits the bytes that a server sends.

    Args:
        longest: Bytes; the library gets every longer message.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = min(longest, LONGEST)
        # The bytes from the position on are not taken yet.
        self._data, self._position = b"", 0
        # The head of the answer so far; `None` once it is complete.
        self._head: bytes | None = b""
        # Whether the library gets everything from here on.
        self._is_foreign = False
        # The library's frame: bytes that are missing, whether a message ends with it, and
        # whether more fragments of one follow.
        self._missing = 0
        self._ends_message = self._in_fragments = False

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes; then call `take` until it returns no bytes for the library."""
        self._data = self._data[self._position :] + data
        self._position = 0

    def take(self) -> Split:
        """Return the next messages, and the bytes behind them for the library."""
        messages: list[bytes | str] = []
        if self._head is not None:
            return Split(messages, self._take_head(self._head), False)
        if not (self._missing or self._is_foreign):
            self._position = self._cut_messages(messages)
        if self._is_foreign:
            return Split(messages, self._pop(len(self._data)), False)
        part = self._pop(self._missing)
        self._missing -= len(part)
        is_message = self._ends_message and not self._missing and bool(part)
        return Split(messages, part, is_message)

    def _pop(self, number: int) -> bytes:
        first = self._data[self._position : self._position + number]
        self._position += len(first)
        return first

    def _take_head(self, head: bytes) -> bytes:
        before = len(head)
        head += self._data[self._position :]
        end = _END_OF_HEAD.search(head)
        if end is None:
            if len(head) > _LONGEST_HEAD:
                self._head, self._is_foreign = None, True
            else:
                self._head = head
            return self._pop(len(self._data))
        self._head = None
        self._is_foreign = _SWITCHES.match(head) is None
        return self._pop(end.end() - before)

    def _cut_messages(self, messages: list[bytes | str]) -> int:
        """Add the usual messages to the list, and return the place behind them.

        When a frame of the library follows there, note it.
        """
        data, longest = self._data, self._longest
        position, size = self._position, len(data)
        while size - position >= 2:
            kind, length = data[position], data[position + 1]
            start = position + 2
            if length >= _TWO_BYTES:
                start += 2 if length == _TWO_BYTES else 8
                if size < start and length <= _EIGHT_BYTES:
                    break  # the length is not complete
                if not self._is_valid_length(length, data[position + 2 : start]):
                    self._is_foreign = True
                    break
                length = int.from_bytes(data[position + 2 : start], "big")
            end = start + length
            if (kind != _BINARY and kind != _TEXT) or length > longest:
                self._note_frame(kind, end - position)
                break
            if self._in_fragments:
                self._is_foreign = True
                break
            if size < end:
                break
            if kind == _BINARY:
                messages.append(data[start:end])
            else:
                try:
                    messages.append(data[start:end].decode())
                except UnicodeDecodeError:  # the library closes the connection
                    self._is_foreign = True
                    break
            position = end
        return position

    def _note_frame(self, kind: int, length: int) -> None:
        """Note the frame of the library that follows, with its length in bytes."""
        self._missing = length
        self._ends_message = False
        if kind & 0xF < _FIRST_CONTROL:
            self._ends_message = bool(kind & _IS_LAST)
            self._in_fragments = not self._ends_message

    @staticmethod
    def _is_valid_length(short: int, length: bytes) -> bool:
        """Return whether no shorter form of the length would do, and nothing is masked."""
        if short > _EIGHT_BYTES:
            return False
        least = _TWO_BYTES if short == _TWO_BYTES else 2**16
        return least <= int.from_bytes(length, "big") < 2**63
