"""The page of the conditions, from their declaration."""

from __future__ import annotations

from typing import Final

from docs.tools.markdown import code, page, table
from greeks_trio.model.condition_kinds import ConditionKind

_ABOUT: Final = """\
A condition is a fault of the database, the disk or this machine that lasts. The log has
`condition.began` and `condition.ended`, the status and `/readyz` have its sentence, and
`greeks_conditions{kind="..."}` counts it. With `not ready`, `/readyz` answers 503. With
`degraded`, the service works and a person has to act. A `note` only has to be known.
"""


def conditions_page() -> str:
    """Return ``docs/conditions.md``."""
    conditions = table(
        ("condition", "severity", "meaning", "what to do"),
        (
            (code(kind.value), kind.severity.value, kind.explanation, kind.remedy)
            for kind in ConditionKind
        ),
    )
    source = "greeks_trio/model/condition_kinds.py"
    return page("Conditions", source, _ABOUT, conditions)
