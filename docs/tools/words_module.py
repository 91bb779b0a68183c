"""The module of the page with the words for conditions and gaps, from their declarations."""

from __future__ import annotations

import json
from typing import Final

from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.gap_reasons import GapReason

_HEAD: Final = """\
// Made by `bin/docs write` from greeks_trio/model/condition_kinds.py and gap_reasons.py.
// Edit those instead.
"""


def words_module() -> str:
    """Return ``greeks_trio/page/lib/words.js``."""
    conditions = {
        kind.value: {
            "severity": kind.severity.value,
            "meaning": kind.explanation,
            "remedy": kind.remedy,
        }
        for kind in ConditionKind
    }
    reasons = {reason.value: reason.explanation for reason in GapReason}
    return "\n".join(
        (
            _HEAD,
            "/** The conditions of the service: `severity`, `meaning` and `remedy` by kind. */",
            f"export const CONDITIONS = {json.dumps(conditions, indent=2)};",
            "",
            "/** What each reason of a gap means. */",
            f"export const GAP_REASONS = {json.dumps(reasons, indent=2)};\n",
        )
    )
