"""The texts, keys and refusals of the bodies that record something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

import msgspec

from greeks_trio.api.answers import NOT_JSON, Problem
from greeks_trio.api.texts import NO_CONTROLS, NO_CONTROLS_STORED
from greeks_trio.model.contract_keys import parse_contract_key
from greeks_trio.model.contracts import ContractKey

Text: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, pattern=NO_CONTROLS_STORED),
]


@contextmanager
def body_problems() -> Iterator[None]:
    """Turn the errors of msgspec about a body into problems.

    Raises:
        Problem: the body is no JSON, or has other fields or values.
    """
    try:
        yield
    except RecursionError:
        raise invalid("The body is nested too deeply.") from None
    except msgspec.ValidationError as exc:
        raise invalid(_in_words(str(exc))) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(HTTPStatus.BAD_REQUEST, NOT_JSON) from None


def _in_words(fault: str) -> str:
    """Return msgspec's message; its words about a pattern are for programmers."""
    if "matching regex" in fault:
        field = fault.rpartition("$.")[2].rstrip("`")
        return f"`{field}` has a control character."
    return f"The body is not valid: {fault}."


def check_broker(name: str, brokers: Sequence[str]) -> None:
    """Check that there is this broker.

    Raises:
        Problem: there is none.
    """
    if name not in brokers:
        raise invalid(
            f"There is no broker {name[:40]!a}.  `broker` is one of: "
            f"{', '.join(brokers)}."
        )


def parse_key(text: str, brokers: Sequence[str], advice: str = "") -> ContractKey:
    """Return the key as the ticks and positions have it, however it is spelled.

    Raises:
        Problem: the text names no contract.
    """
    try:
        return parse_contract_key(text, brokers)
    except ValueError as exc:
        raise invalid(f"`contract_key` {exc}.{advice}") from None


def invalid(detail: str) -> Problem:
    """Return the refusal of a value."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def text_schema(description: str) -> dict[str, Any]:
    """Return the schema of a `Text` for OpenAPI."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": NO_CONTROLS,
        "description": description,
    }
