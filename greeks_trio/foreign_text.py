"""Makes text from elsewhere safe to show: no secret, no control character, no flood.

Text of a broker, a server or a user passes `clean` on its way to the log, to HTTP and into
errors.  Pure, apart from the registry of the secrets to mask.

A secret is masked in each form in which a peer may send it back: as it is, with escapes of
URLs, JSON, HTML, SQL or a shell, and inside base64, as in a Basic header.  A beginning of `_HEAD` characters is
enough, because the peer may cut its text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final
from urllib.parse import quote_plus

MASK: Final = "***"
# A shorter secret is not masked: it may be a part of any text.
SHORTEST_SECRET: Final = 8
# The length of a beginning that is masked, too.
_HEAD: Final = 12
# So many characters beyond the limit are looked at.
_LOOKED_AT: Final = 10_000
# Tokens that a broker has issued in this run; each lives for a day at most.
_MOST_ISSUED: Final = 32
_MOST_LASTING: Final = 64
# A space in a form, a quote in SQL.
_OF_QUOTES: Final = {" ": "+", "'": "''", '"': '""'}
_DOUBLED: Final = "'\"\\"
_MOST_DOUBLED: Final = 3

# These separate words, so a space takes their place.
_SPACES: Final = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_LONGEST_ACCOUNT_ID: Final = 64
_HEADER_TOKEN: Final = re.compile(r"[!#-:<-\[\]-~]+")
# C0, DEL, C1, the marks that change the direction of text or have no width, and halves of
# surrogate pairs, which UTF-8 cannot hold.
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class SecretRegistry:
    """The secrets that no text may show.  Registering is for one thread, masking for all."""

    def __init__(self) -> None:
        self._lasting: OrderedDict[str, None] = OrderedDict()
        self._issued: OrderedDict[str, None] = OrderedDict()
        # The forms of all secrets by their beginnings; replaced as a whole.
        self._forms: dict[str, tuple[str, ...]] = {}
        # The beginnings with any escapes, and the ends of the secrets that begin so.
        self._escaped: list[tuple[re.Pattern[str], tuple[str, ...]]] = []

    def register(self, value: str, *, lasting: bool) -> None:
        """Mask this secret from now on; see `register_secret`."""
        value = value.strip()
        kept = self._lasting if lasting else self._issued
        if len(value) < SHORTEST_SECRET:
            return
        is_known = value in self._lasting or value in self._issued
        kept[value] = None
        kept.move_to_end(value)
        while len(kept) > (_MOST_LASTING if lasting else _MOST_ISSUED):
            kept.popitem(last=False)
            is_known = False
        if not is_known:
            secrets = [*self._lasting, *self._issued]
            self._escaped = _by_escaped_head(secrets)
            self._forms = _by_head(secrets)

    def mask(self, text: str) -> str:
        """Return the text with `MASK` in the place of each secret."""
        for pattern, ends in self._escaped:
            text = _mask_escaped(text, pattern, ends)
        for head, forms in self._forms.items():
            if head in text:
                text = _mask_forms(text, head, forms)
        return text


_secrets = SecretRegistry()


def register_secret(value: str, *, lasting: bool = False) -> None:
    """Mask this secret in every text from now on.

    Spaces around it do not count, and a secret of fewer than `SHORTEST_SECRET` characters
    is not masked.

    Args:
        value: The secret.
        lasting: Whether it comes from the configuration.  Of the others, which brokers
            issue, the latest are kept.
    """
    _secrets.register(value, lasting=lasting)


def mask(text: str) -> str:
    """Return the text with ``***`` in the place of each registered secret."""
    return _secrets.mask(text)


def clean(text: str, *, limit: int = 500) -> str:
    """Return the text in one line, without secrets and control characters.

    Args:
        text: A text from elsewhere.
        limit: The most characters of the result; a longer text ends in ``...``.
    """
    # A cut secret keeps its beginning, so the rest of a huge text needs no look.
    text = mask(remove_controls(text[: limit + _LOOKED_AT]))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def is_account_id(text: str) -> bool:
    """Return whether a text can be the id of an account, in a path and in a table."""
    return 0 < len(text) <= _LONGEST_ACCOUNT_ID and text.isprintable()


def is_header_token(text: str) -> bool:
    """Return whether a token can be a part of a header: visible ASCII, without quotes."""
    return bool(text) and _HEADER_TOKEN.fullmatch(text) is not None


def has_controls(text: str) -> bool:
    """Return whether a text has a control character, or one that is not to be seen."""
    return not text.isprintable() and _CONTROLS.search(text) is not None


def remove_controls(text: str) -> str:
    """Return the text in one line and without control characters."""
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _SPACES.sub(" ", text))


def clean_lines(text: str) -> str:
    """Return a text of several lines, such as a traceback, with each line cleaned."""
    # The secrets come first, because one with a line break ends up in two lines.
    return "\n".join(map(remove_controls, mask(text).split("\n")))


def _by_head(secrets: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for secret in secrets:
        for form in _forms_of(secret):
            found.setdefault(form[:_HEAD], {})[form] = None
    # A long head first: a short one may be a part of it and would leave its end.
    heads = sorted(found, key=len, reverse=True)
    return {head: tuple(found[head]) for head in heads}


def _forms_of(secret: str) -> Iterator[str]:
    """Yield the forms of the secret that are more than escapes of its characters."""
    yield remove_controls(secret)
    yield " ".join(secret.split())
    raw = secret.encode("utf-8", "surrogatepass")
    yield quote_plus(raw)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield from _base64_forms(raw)


def _by_escaped_head(
    secrets: list[str],
) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    for secret in secrets:
        found.setdefault(secret[:_HEAD], []).append(secret[_HEAD:])
    heads = sorted(found, key=len, reverse=True)
    return [(_escaped_head(head), tuple(found[head])) for head in heads]


@lru_cache(maxsize=_MOST_LASTING + _MOST_ISSUED)
def _escaped_head(head: str) -> re.Pattern[str]:
    # A row of quotes can be read in thousands of ways: then only the longest counts.
    is_odd = sum(head.count(each) for each in _DOUBLED) > _MOST_DOUBLED
    return re.compile("".join(_pattern_of(each, is_odd) for each in head))


def _pattern_of(character: str, is_longest: bool) -> str:
    escapes = _escapes(character)
    if len(escapes) == 1:
        return re.escape(character)
    return f"(?{'>' if is_longest else ':'}{'|'.join(map(re.escape, escapes))})"


@cache
def _escapes(character: str) -> tuple[str, ...]:
    """Return the spellings of one character, the longest first."""
    if character.isascii() and character.isalnum():
        return (character,)
    raw = character.encode("utf-8", "surrogatepass")
    percent = "".join(f"%{byte:02X}" for byte in raw)
    number = ord(character)
    unicode = json.dumps(character)[1:-1] if number > 0xFFFF else f"\\u{number:04x}"
    once = {
        *(
            percent,
            unicode,
            unicode.upper().replace("\\U", "\\u"),
            html.escape(character),
        ),
        *(html.escape(character, quote=False), f"&#{number};", f"&#x{number:x};"),
        *(f"&#x{number:X};", json.dumps(character)[1:-1], repr(character)[1:-1]),
        *(f"\\{character}", _OF_QUOTES.get(character, character)),
    }
    # JSON inside JSON, and a URL inside a URL.
    twice = {json.dumps(each, ensure_ascii=False)[1:-1] for each in once}
    every = once | twice | {percent.replace("%", "%25"), character}
    if character == "'":
        every.add("'\\''")
    every |= {each.lower() for each in every if "%" in each}
    return tuple(sorted(every, key=len, reverse=True))


def _base64_forms(raw: bytes) -> Iterator[str]:
    """Yield the characters of base64 that depend on the secret only.

    In ``user:secret`` the secret begins at any of three places within a group.
    """
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + raw)[: (before + len(raw)) * 8 // 6]
        form = encoded.decode()[skipped:]
        yield form
        yield form.translate({ord("+"): "-", ord("/"): "_"})


def _mask_escaped(text: str, pattern: re.Pattern[str], ends: tuple[str, ...]) -> str:
    parts: list[str] = []
    while (found := pattern.search(text)) is not None:
        parts += text[: found.start()], MASK
        text = text[max(_end_of_secret(text, found.end(), end) for end in ends) :]
    return "".join((*parts, text))


def _end_of_secret(text: str, start: int, end: str) -> int:
    """Return the place up to which a text goes on with these characters."""
    places = {start}
    for character in end:
        places = {
            place + len(each)
            for place in places
            for each in _escapes(character)
            if text.startswith(each, place)
        }
        if not places:
            break
        start = max(places)
    return start


def _mask_forms(text: str, head: str, forms: tuple[str, ...]) -> str:
    parts: list[str] = []
    while True:
        before, found, after = text.partition(head)
        parts.append(before)
        if not found:
            return "".join(parts)
        shown = max(_shared(form[len(head) :], after) for form in forms)
        parts.append(MASK)
        text = after[shown:]


def _shared(one: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    pairs = enumerate(zip(one, other, strict=False))
    least = min(len(one), len(other))
    return next((place for place, (a, b) in pairs if a != b), least)
