"""The page of the commands, from the declarations that `--help` shows too."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from docs.tools.markdown import code, one_line, page, table
from greeks_trio.commands.cli import commands

PROGRAM: Final = "bin/run-ingest"
_SOURCE: Final = "the options in greeks_trio/commands"


def commands_page() -> str:
    """Return ``docs/commands.md``."""
    return page("Commands", _SOURCE, *_parts())


def _parts() -> Iterator[str]:
    yield inspect.cleandoc(commands.help or "")
    yield f"`{PROGRAM} COMMAND --help` shows the options of a command in the terminal."
    context = click.Context(commands, info_name=PROGRAM)
    visible = {
        name: each for name, each in commands.commands.items() if not each.hidden
    }
    yield table(
        ("command", "task"),
        (
            (f"[`{name}`](#{name})", one_line((each.help or "").partition("\n\n")[0]))
            for name, each in visible.items()
        ),
    )
    for name, command in visible.items():
        yield f"## {name}"
        yield _help(command)
        options = list(_options(command, click.Context(command, context, name)))
        if options:
            yield table(("option", "meaning", "default"), options)


def _help(command: click.Command) -> str:
    """Return the help, its list of exit statuses one a line."""
    text = inspect.cleandoc(command.help or "")
    before, mark, statuses = text.partition("Exit status:")
    if not mark:
        return text
    meanings = re.findall(r"(\d+) (.+?)(?:, (?=\d)|\.$|\.\n)", one_line(statuses))
    lines = "\n".join(f"- `{number}`: {meaning}" for number, meaning in meanings)
    return f"{before.strip()}\n\nExit status:\n\n{lines}"


def _options(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        metavar = "" if parameter.is_flag else _metavar(parameter, context)
        name = code(f"{', '.join(parameter.opts)} {metavar}".strip())
        shown = parameter.default if parameter.show_default else None
        yield name, parameter.help or "", "" if shown is None else code(str(shown))


def _metavar(option: click.Option, context: click.Context) -> str:
    if option.metavar is None and isinstance(
        option.type, click.INT.__class__ | click.FLOAT.__class__
    ):
        return "N"
    return option.make_metavar(context)
