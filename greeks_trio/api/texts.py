"""The texts that a client may send."""

from typing import Any, Final

from greeks_trio.foreign_text import has_controls

# PostgreSQL stores no NUL.  The other control characters (C0, DEL, C1), the separators of
# lines, the marks that change the direction of text and characters without a width are
# always a mistake in the name of something.
_UNWANTED: Final = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb"
)
# Python, Rust and ECMAScript read this pattern in the same way.
NO_CONTROLS: Final = rf"^[^{_UNWANTED}]+$"
# With the invisible tags, which ECMAScript spells in another way.
NO_CONTROLS_STORED: Final = rf"^[^{_UNWANTED}\U000e0000-\U000e007f]+$"

# A note may have several lines.
_IN_NOTES: Final = str.maketrans("", "", "\t\n\r")


def has_hidden_text(value: Any) -> bool:  # noqa: ANN401
    """Return whether a JSON value has a text or a key with a control character.

    Tabs and line breaks are allowed.
    """
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
        elif isinstance(item, str) and has_controls(item.translate(_IN_NOTES)):
            return True
    return False
