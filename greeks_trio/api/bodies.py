"""One meaning for each body: JSON that two readers could read differently is refused."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus
from typing import Any

from greeks_trio.api.answers import Problem


def refuse_repeated_keys(body: bytes) -> None:
    """Refuse JSON in which an object has a key twice (RFC 8259, section 4).

    A body that is no JSON is accepted here: the application has its own answer to it.

    Raises:
        Problem: a key comes twice, or the body is nested too deeply.
    """
    try:
        json.loads(body, object_pairs_hook=_object, parse_int=str, parse_float=str)
    except RecursionError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The body is nested too deeply."
        ) from None
    except ValueError:
        return


def _object(pairs: list[tuple[str, Any]]) -> None:
    [(key, count)] = Counter(key for key, _ in pairs).most_common(1) or [("", 0)]
    if count > 1:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"The body has the key {key[:40]!a} twice in one object.",
        )
