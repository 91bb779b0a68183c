"""The invalid and wrong frames that the simulated gateway can send."""

from __future__ import annotations

from typing import Final

# None of these is about a subscribed contract.
GARBAGE: Final = (
    b"",
    b"{",
    b"ech+xx",
    b"\x00\xff\xfe",
    b"null",
    b"42",
    b'"text"',
    b"[]",
    b"[" * 20_000,
    b'{"topic":5}',
    b'{"topic":null,"args":null}',
    b'{"topic":"smd+1","conid":1,"7308":"0.5","_updated":1700000000000}',
    b'{"topic":"smd+1","conid":"one","7308":{"a":[1]},"_updated":"soon"}',
    b'{"topic":"smd+x","conid":[1],"_updated":null}',
    b'{"topic":"smd+1;;;2/-1,3/2","_updated":1700000000000}',
    b'{"topic":"sts","args":["authenticated"]}',
    b'{"topic":"sts","args":{"authenticated":"perhaps","competing":0}}',
    b'{"topic":"act","args":7}',
    b'{"topic":"xyz+1","args":{"of":"interest"}}',
    b'{"error":"something is wrong","code":1}',
    b'{"error":"Topic unknown \'null\'","code":1}',
    b'{"topic":"sor","error":"not available"}',
    b'{"topic":"error","error":{"code":9}}',
    b'{"31":NaN,"topic":"smd+1"}',
)

# Statuses that are wrong or incomplete.
ODD_STATUSES: Final[tuple[dict[str, object], ...]] = (
    {"authenticated": False},
    {"competing": False},
    {"message": ""},
    {"authenticated": "false"},
    {"established": False},
    {"authenticated": True},
)
