"""The names of variables: ours, misspelt ones, and those of other programs.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from greeks_trio.config.env_file import EnvFile
from greeks_trio.config.secret import FILE_SUFFIX
from greeks_trio.config.settings import ENV_FILE, SETTINGS, VARIABLES

# Each secret may also be in a file of its own.
SECRETS: Final = tuple(each.variable for each in SETTINGS if each.kind.is_secret)
SECRET_FILES: Final = tuple(f"{name}{FILE_SUFFIX}" for name in SECRETS)
KNOWN: Final = frozenset({*VARIABLES, *SECRET_FILES})

# systemd's LoadCredential makes this directory, with one file for each credential.
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"

_OURS_ALONE: Final = "GREEKS_"
_PREFIXES: Final = (_OURS_ALONE, "POSTGRES_", "IBKR_", "TASTYTRADE_", "TT_")
# The variables of the container image of PostgreSQL, which often share our file.
_OF_THE_IMAGE: Final = frozenset(
    {
        "POSTGRES_HOST_AUTH_METHOD",
        "POSTGRES_INITDB_ARGS",
        "POSTGRES_INITDB_WALDIR",
    }
)
# Compose itself and the images beside ours in its file.
_OF_OTHERS: Final = ("COMPOSE_", "DOCKER_", "GF_")
# Names under which other programs expect the address of a database.
_ADDRESSES: Final = frozenset({"DATABASE_URL", "DATABASE_URI", "DB_URL"})
# libpq's variables that would change the connections of the service: they do not reach
# it, see `greeks_trio.config.load`.  Some have a setting instead.  libpq's password
# file and the other variables of TLS work as usual.
OF_LIBPQ: Final[Mapping[str, str | None]] = {
    "PGHOST": "POSTGRES_HOST",
    "PGHOSTADDR": "POSTGRES_HOST",
    "PGPORT": "POSTGRES_PORT",
    "PGUSER": "POSTGRES_USER",
    "PGPASSWORD": "POSTGRES_PASSWORD",
    "PGDATABASE": "POSTGRES_DB",
    "PGSSLMODE": "POSTGRES_SSLMODE",
    "PGREQUIRESSL": "POSTGRES_SSLMODE",
    "PGSSLROOTCERT": "POSTGRES_SSLROOTCERT",
    "PGREQUIREAUTH": "POSTGRES_REQUIRE_AUTH",
    "PGCONNECT_TIMEOUT": "GREEKS_DB_TIMEOUT_S",
    "PGSERVICE": "POSTGRES_HOST",
    "PGSERVICEFILE": "POSTGRES_HOST",
    "PGAPPNAME": None,
    "PGCLIENTENCODING": None,
    "PGDATESTYLE": None,
    "PGGEQO": None,
    "PGOPTIONS": None,
    "PGTARGETSESSIONATTRS": None,
    "PGTZ": None,
}

# Words of a name that mean the same.
_SAME_WORDS: Final = {"TASTYTRADE": "TT", "DATABASE": "DB", "DBNAME": "DB"}
_RELATED: Final = 0.5


def is_private(name: str) -> bool:
    """Return whether a variable belongs to the service alone, and may hold a secret.

    Other programs that we start do not get it.
    """
    return name.startswith(_PREFIXES) or name in OF_LIBPQ or name == CREDENTIALS


def nearest(name: str, cutoff: float = 0.8) -> str | None:
    """Return the setting with the most similar name, `None` if none is similar."""
    name = name.upper().replace("-", "_")
    similar = get_close_matches(name, sorted(KNOWN), n=1, cutoff=cutoff)
    return similar[0] if similar else None


def related(name: str) -> str | None:
    """Return the setting that shares the most words with a name, such as its database.

    At least half of the words of both are the same.
    """
    wanted = _words(name)

    def share(variable: str) -> float:
        words = _words(variable)
        return len(words & wanted) / len(words | wanted)

    best = max(VARIABLES, key=share)
    return best if share(best) >= _RELATED else None


def _words(name: str) -> set[str]:
    words = re.split(r"[_-]+", name.upper())
    return {_SAME_WORDS.get(word, word) for word in words}


def file_problems(content: EnvFile, path: str) -> Iterator[str]:
    """Yield a sentence for each line that means nothing.

    A name that begins like ours and is no setting is one, too.  With a misspelt
    ``IBKR_ACCOUNTS`` the service would stream every account.
    """
    for odd in content.problems:
        similar = nearest(odd.word) if odd.word else None
        meant = f" ({similar}?)" if similar and similar not in odd.fault else ""
        yield f"Line {odd.line} of {path} {odd.fault}{meant}."
    lines: dict[str, int] = {}
    for entry in content.entries:
        place = f"line {entry.line} of {path}"
        if entry.name == ENV_FILE.variable:
            yield (
                f"{entry.name} ({place}) has no effect in a file; set it in the "
                "environment, or remove the line."
            )
        elif _is_misspelt(entry.name):
            yield f"{entry.name} ({place}) is not a setting{suggestion(entry.name)}."
        elif entry.name in KNOWN and entry.name in lines:
            yield (
                f"{entry.name} ({place}) is also set in line {lines[entry.name]}; remove "
                "one of the two lines."
            )
        lines[entry.name] = entry.line


def environment_warnings(names: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each variable of the process that looks like ours.

    Other programs share the process environment, so this is no problem.
    """
    for name in sorted(names):
        is_near = name.startswith(_PREFIXES) and nearest(name, 0.85)
        if name in KNOWN or name in _OF_THE_IMAGE:
            continue
        if name.startswith(_OURS_ALONE) or is_near:
            yield f"{name} (set in the environment) is not a setting{suggestion(name)}."
    for name, setting in OF_LIBPQ.items():
        if name in names and (setting is None or setting not in names):
            yield _not_read(name, "set in the environment")


def file_warnings(content: EnvFile, path: str) -> Iterator[str]:
    """Yield a sentence for each variable of other programs in the file: it has no effect.

    Other programs, such as Docker Compose, may share the file, so this is no problem.
    """
    names = {entry.name for entry in content.entries}
    for entry in content.entries:
        place = f"line {entry.line} of {path}"
        if entry.name in OF_LIBPQ:
            if OF_LIBPQ[entry.name] not in names:
                yield _not_read(entry.name, place)
        elif not _is_expected(entry.name) and not _is_misspelt(entry.name):
            yield f"{entry.name} ({place}) is no setting and has no effect{_hint(entry.name)}."


def _is_expected(name: str) -> bool:
    """Return whether the name is ours, or of a program that shares the file with us."""
    return name in KNOWN or name in _OF_THE_IMAGE or name.startswith(_OF_OTHERS)


def _hint(name: str) -> str:
    if name in _ADDRESSES:
        return (
            "; set POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and"
            " POSTGRES_DB"
        )
    for prefix in _PREFIXES:
        if f"{prefix}{name.upper()}" in KNOWN:
            return f"; {prefix}{name.upper()} is a setting"
    return ""


def _not_read(name: str, place: str) -> str:
    setting = OF_LIBPQ.get(name)
    action = f"set {setting} instead" if setting else "remove it"
    return f"{name} ({place}) is not read; {action}."


def _is_misspelt(name: str) -> bool:
    """Return whether a name in the file is meant for us and is no setting."""
    if name in KNOWN or name in _OF_THE_IMAGE:
        return False
    return name.upper().startswith(_PREFIXES) or nearest(name, 0.85) is not None


def suggestion(name: str) -> str:
    """Return the end of the message about a name that is no setting."""
    similar = nearest(name) or related(name)
    return f"; {similar} is one" if similar else "; correct the name or remove it"
