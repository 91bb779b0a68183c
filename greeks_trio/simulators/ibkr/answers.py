"""The simulated gateway's answers to the requests on its WebSocket."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import assert_never

import trio

from greeks_trio.simulators.ibkr import topics
from greeks_trio.simulators.ibkr.lines import IbkrLines
from greeks_trio.simulators.ibkr.login import GatewayLogin


class IbkrAnswers:
    """Answers one client.  ``on_change`` is called when its subscriptions change."""

    def __init__(
        self, login: GatewayLogin, lines: IbkrLines, on_change: Callable[[], None]
    ) -> None:
        self._login = login
        self._lines = lines
        self._on_change = on_change

    def answer(self, text: str) -> list[bytes]:
        """Return the frames that answer a text, without waiting."""
        match topics.parse_request(text):
            case topics.Subscribe(key, fields):
                return self._subscribe(key, set(fields))
            case topics.SubscribeCombination(key):
                return [topics.encode_combination(key, now_ms())]
            case topics.Unsubscribe(key):
                self._lines.unsubscribe(key)
                self._on_change()
                return []
            case topics.KeepAlive():
                answer = topics.encode_keep_alive(self._login.session_id, now_ms())
                return [answer] * 4
            case topics.Echo(text):
                return [text.encode()]
            case topics.Quiet():
                return []
            case topics.Unknown(text):
                return [topics.encode_unknown_topic(text)]
            case unreachable:
                assert_never(unreachable)

    def _subscribe(self, key: str, fields: set[str]) -> list[bytes]:
        if not self._login.is_established:
            return []
        frames = self._lines.subscribe(key, fields, trio.current_time())
        self._on_change()
        return frames


def now_ms() -> int:
    """Return the real clock, in milliseconds."""
    return time.time_ns() // 1_000_000
