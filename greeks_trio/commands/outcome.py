"""Runs the plan of a command and turns its outcome into an exit status.

====  ==================================================================
0     stopped on request, or done
1     a bug; a check, a migration or a demo that failed
2     wrong arguments or settings, also a port that is in use
3     every enabled broker refused the login
4     the schema does not fit this program, or the database refused it
130   Ctrl-C in a command that has nothing to write at its end
====  ==================================================================
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Final, TypeAlias

import click
import trio

from greeks_trio.config.settings import Config
from greeks_trio.errors import (
    ConfigError,
    GreeksError,
    SchemaRejected,
    leaves,
    plain_reason,
)
from greeks_trio.logs import (
    background_output,
    configure_logging,
    explain_dropped,
    tell_repeats,
)
from greeks_trio.postgres.login import computes

logger = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2
SCHEMA_REJECTED: Final = 4
INTERRUPTED: Final = 130

_NO_FILES: Final = (
    "The process has no file handle left: raise its limit with `ulimit -n 1024`, or with "
    "LimitNOFILE= in a unit of systemd."
)

Plan: TypeAlias = Callable[[], int]


def run(plan: Plan) -> int:
    """Run the plan and return its exit status.

    No line on stderr waits for its reader.  This is the outermost handler of the program.
    It logs every other exception as a bug, with its traceback.
    """
    configure_logging()
    with background_output("stderr", explain_dropped):
        status = _status_of(plan)
        tell_repeats()
    if computes():
        sys.stdout.flush()
        os._exit(status)
    return status


def _status_of(plan: Plan) -> int:
    status = OK
    try:
        status = plan()
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* ConfigError as group:
        status = MISCONFIGURED
        problems = [
            leaf.problems for leaf in leaves(group) if isinstance(leaf, ConfigError)
        ]
        for problem in chain(*problems):
            click.echo(f"configuration: {problem}", err=True)
    except* SchemaRejected as group:
        status = SCHEMA_REJECTED
        click.echo(f"database: {plain_reason(group)}", err=True)
    except* GreeksError as group:
        status = status or FAILED  # the other statuses say more
        click.echo(plain_reason(group), err=True)
    except* click.Abort:
        status = INTERRUPTED
    except* Exception as group:
        status = FAILED
        scarce, bugs = group.split(_is_scarcity)
        if scarce is not None:
            click.echo(_NO_FILES, err=True)
        if bugs is not None:
            logger.critical("service.bug", exc_info=bugs)
    return status


def _is_scarcity(exc: BaseException) -> bool:
    return isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE)


def run_trio(function: Callable[..., Awaitable[int]], *args: object) -> int:
    """Run an asynchronous function to its exit status."""
    # Ctrl-C acts only at checkpoints, never within a COPY or while a file is closed.
    return trio.run(function, *args, restrict_keyboard_interrupt_to_checkpoints=True)


def configured(load: Callable[..., Config]) -> Config:
    """Load the configuration, and set up the log by its settings before its first line.

    Args:
        load: `load_config` with its other arguments.
    """
    return load(set_up_log=_set_up_log)


def _set_up_log(config: Config) -> None:
    configure_logging(log_format=config.log_format, level=config.log_level)
