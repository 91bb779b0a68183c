"""The page of settings and ``.env.example``, from the declarations of the settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from docs.tools.markdown import code, page, table
from greeks_trio.config.declaration import Setting
from greeks_trio.config.kinds import TEXT
from greeks_trio.config.secret import FILE_SUFFIX
from greeks_trio.config.settings import SETTINGS

_WIDTH: Final = 88
# Stands for a space at which no line ends.
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_INTRODUCTION: Final = """\
A setting is a variable of the process environment, or a line `NAME=VALUE` in the file
`.env` in the directory in which you start `bin/run-ingest`. `GREEKS_ENV_FILE` names
another file. The process environment wins over the file. A setting that is absent or empty
has its default. The file `.env.example` has all of them as comments, ready to copy. No
message and no log line shows a secret.

A line of the file is `NAME=VALUE`, a comment that begins with `#`, or empty. `export` may
stand in front of the name. Quotes around a value keep spaces and `#` in it. Every line that
means nothing is a problem, with its number: a line without `=`, a comment behind a value, a
quote that does not close, a name that is set twice, and a name that begins like a setting
and is none. A misspelt `IBKR_ACCOUNTS` would otherwise stream all accounts. In the process
environment, which other programs share, such names are only warned about
(`config.doubtful`).

Each secret can be in a file of its own, which `NAME_FILE` names, for instance
`POSTGRES_PASSWORD_FILE=/run/secrets/password`. A file with the name of the setting in
`$CREDENTIALS_DIRECTORY`, which `LoadCredential=` of systemd makes, works without a
variable. A line break at the end of such a file does not belong to the secret. A secret
that is set twice is a problem. `chmod 600 .env` keeps other users of the machine away; the
log warns if they can read a secret.

The last column says how a change takes effect:

- `SIGHUP`: `kill -HUP` applies the change to the running service.
- `SIGHUP, with the next connection`: `kill -HUP` applies it, and the service uses it when
  it opens its next connection.
- `restart`: the change needs a restart. On `kill -HUP` the log says so
  (`config.needs_restart`).

At the start the service checks all settings. If any is wrong, it prints every problem and
ends with status 2. On `kill -HUP` it logs every problem (`config.rejected`) and keeps the
settings that it has.

The service streams the contracts of the open option positions of your accounts, and those
of `GREEKS_WATCHLIST`.
"""
_HEADER: Final = """\
# The settings of greeks_trio.  Made from the declarations in greeks_trio/config.
#
# Copy this file to .env in the directory in which you start bin/run-ingest, or let
# bin/run-ingest init ask and write it.  Each line shows the default; to change a setting,
# remove the '#' in front of it.  The process environment wins over the file.
#
# [SIGHUP]   kill -HUP applies a change to the running service
# [restart]  a change needs a restart; on kill -HUP the log says so
"""


def settings_page() -> str:
    """Return ``docs/settings.md``."""
    return page("Settings", "greeks_trio/config", _INTRODUCTION, *_tables())


def env_example() -> str:
    """Return ``.env.example``, in which every line is a comment."""
    return "\n".join([_HEADER, *_examples()])


def _groups() -> Iterator[tuple[str, list[Setting[Any]]]]:
    for group, settings in groupby(SETTINGS, key=lambda each: each.group):
        yield group, list(settings)


def _tables() -> Iterator[str]:
    for group, settings in _groups():
        yield f"## {group}"
        yield table(
            ("variable", "meaning", "values", "default", "change"),
            (
                (
                    code(each.variable),
                    each.about,
                    each.kind.values,
                    code(each.default_text),
                    each.applies,
                )
                for each in settings
            ),
        )


def _examples() -> Iterator[str]:
    for group, settings in _groups():
        yield f"# --- {group} ".ljust(_WIDTH, "-")
        yield ""
        for each in settings:
            yield from _comment(each)
            yield f"#{each.variable}={each.default_text}"
        yield ""


def _comment(setting: Setting[Any]) -> list[str]:
    values = "" if setting.kind.values == TEXT.values else f"{setting.kind.values}. "
    mark = f"[{setting.applies}]".replace(" ", _NO_BREAK)
    about = setting.about
    if setting.kind.is_secret:
        about += f" {setting.variable}{FILE_SUFFIX} names a file with it instead."
    text = f"{about} {values and 'Value: '}{values}".replace(". ", ".  ")
    lines = textwrap.wrap(
        f"{text} {mark}",
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in lines]
