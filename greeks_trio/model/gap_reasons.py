"""Every reason that a row of `feed_gaps` can have, with its explanation."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

# Spellings of earlier versions.  Spools and journals on disk may still have them.
_OLD_SPELLINGS: Final = {
    "ticks-lost": "ticks lost",
    "no Greeks": "no greeks",
    "no market-data line": "no market data line",
}


class GapReason(StrEnum):
    """Why there are no data, or fewer data, for an interval.

    Attributes:
        explanation: One sentence for the documentation.
    """

    explanation: str

    def __new__(cls, value: str, explanation: str) -> Self:
        """Make a member of the text that is stored and the sentence that explains it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        new = _OLD_SPELLINGS.get(value) if isinstance(value, str) else None
        return next((each for each in cls if each.value == new), None)

    # The whole feed.
    DISCONNECTED = (
        "disconnected",
        "The connection to the broker ended, or there was none yet.",
    )
    SILENCE = (
        "silence",
        "The connection was open, but the broker sent nothing for too long.",
    )
    SESSION_LOST = (
        "session lost",
        "The broker ended the login session, or another program took it over.",
    )
    SESSION_IN_DOUBT = (
        "session in doubt",
        "The broker reported the session as lost and a moment later as valid again.",
    )
    STOPPED = (
        "stopped",
        "The service was stopped and drained its data; the gap ends after the next start.",
    )
    KILLED = (
        "killed",
        "The service ended without a clean shutdown; the gap ends after the next start.",
    )
    STOPPED_BY_REQUEST = (
        "stopped by request",
        "A person stopped this feed; the gap ends when the feed is connected again.",
    )
    TICKS_LOST = (
        "ticks lost",
        "Ticks were received in this interval, and some of them could not be stored.",
    )
    RESTORED_BACKUP = (
        "restored backup",
        "Rows of this interval were committed, and the database has lost them since.",
    )

    # One contract.
    SUBSCRIPTION_UNANSWERED = (
        "subscription unanswered",
        "The broker did not answer the subscription of this contract.",
    )
    SUBSCRIPTION_SILENT = (
        "subscription silent",
        "The subscription of this contract was active and then brought nothing more.",
    )
    SUBSCRIPTION_REFUSED = (
        "subscription refused",
        "The broker refused a subscription that may include this contract.",
    )
    NO_GREEKS = (
        "no greeks",
        "The contract is subscribed, and the broker sends no Greeks for it.",
    )
    UNKNOWN_CONTRACT = (
        "unknown contract",
        "The broker does not know this contract, or has no name under which it streams.",
    )
    NO_MARKET_DATA_LINE = (
        "no market data line",
        "The account has fewer market data lines than contracts; this one has none.",
    )


# Rows about lost ticks stand beside those of the feed.
OF_TICKS: Final = (GapReason.TICKS_LOST, GapReason.RESTORED_BACKUP)
