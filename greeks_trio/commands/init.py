"""``init``: asks for the settings, writes the file with them, and checks them."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click

from greeks_trio.commands.check import CheckOptions, run_check
from greeks_trio.commands.outcome import OK, run_trio
from greeks_trio.commands.settings_form import Form
from greeks_trio.config.directories import refuse_foreign_directory
from greeks_trio.config.env_file import env_line
from greeks_trio.config.load import read_config, settings_file
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import ENV_FILE, SETTINGS
from greeks_trio.errors import ConfigError
from greeks_trio.program import program_name

_MODE: Final = 0o600
_WIDTH: Final = 88
_NO_ANSWERS: Final = (
    "The answers ended early, so {path} was not written. Without a terminal, use --yes: "
    "then options give the answers, and secrets come from the environment."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions:
    """The options of the command.

    Attributes:
        form: The answers that options give.
        file: The file to write; `None` for the one that the service reads.
        asks: Whether to ask for the rest.
        force: Whether to replace a file.
    """

    form: Form
    file: Path | None
    asks: bool
    force: bool


def run_init(options: InitOptions) -> int:
    """Write the file, check the settings, and return the exit status of the check.

    Raises:
        ConfigError: the file exists or cannot be written, or the settings have problems,
            or answers from a pipe end early.
        click.Abort: the user ends the questions; nothing is written.
    """
    path = (options.file or settings_file()).absolute()
    if os.path.lexists(path) and not options.force:
        raise ConfigError([f"{path} exists. Use --force to replace it."])
    refuse_foreign_directory(path.parent)
    form = options.form
    if options.asks:
        try:
            form.ask()
        except click.Abort:
            if not sys.stdin.isatty():
                raise ConfigError([_NO_ANSWERS.format(path=path)]) from None
            click.echo(
                f"\nThe questions ended early, so {path} was not written.", err=True
            )
            raise
    else:
        form.take_environment()
    if not form.has_broker:
        raise ConfigError(
            [
                f"No broker is enabled, so {path} was not written: use --ibkr or --tastytrade."
            ]
        )
    text = content(form.answers)
    _write(path, text, replace=options.force)
    click.echo(f"Wrote {path}, which only you can read. It is checked now.")
    check = CheckOptions(embedded=form.embedded, file=path)
    status = run_trio(run_check, partial(read_config, file=path), check)
    click.echo(_next_step(path, is_fine=status == OK, embedded=form.embedded))
    return status


def content(answers: Mapping[str, str]) -> str:
    """Return the text of the file with these answers, in the order of the settings.

    Raises:
        ConfigError: the answers do not fit together.
    """
    parse_config(answers, program=program_name())
    try:
        return "\n".join(_lines(answers)) + "\n"
    except ValueError as exc:
        raise ConfigError([f"An answer {exc}."]) from None


def _lines(answers: Mapping[str, str]) -> Iterator[str]:
    yield f"# Settings of greeks_trio, made by {program_name()} init."
    about = {setting.variable: setting.about for setting in SETTINGS}
    ordered = [name for name in about if name in answers]
    for name in (*ordered, *sorted(answers.keys() - about.keys())):
        yield ""
        for line in textwrap.wrap(about.get(name, ""), _WIDTH - 2):
            yield f"# {line}"
        yield env_line(name, answers[name])


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write the file as a whole or not at all, for its owner only.

    Raises:
        ConfigError: it cannot be written, or exists and may not be replaced.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(fresh, flags, _MODE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            if replace:
                fresh.replace(path)
            else:
                # Fails if the file exists, also if it was made in the meantime.
                path.hardlink_to(fresh)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError([f"{path} cannot be written ({reason})."]) from exc


def _next_step(path: Path, *, is_fine: bool, embedded: bool) -> str:
    is_default = path == Path(ENV_FILE.default).absolute()
    named = "" if is_default else f"{ENV_FILE.variable}={path} "
    option = " --embedded" if embedded else ""
    if is_fine:
        return f"Start the service: {named}{program_name()} serve{option}"
    return (
        "Act on the lines with FAILED, then check again: "
        f"{named}{program_name()} check{option}"
    )
