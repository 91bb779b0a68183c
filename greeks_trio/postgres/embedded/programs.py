"""Run the programs of the bundled PostgreSQL as its account."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.accounts import LAUNCHER, Account, name_for

_TOOL_LIMIT_S: Final = 120.0
# The programs get none of our variables: PGDATA and others would change their work.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How to run the server's programs.

    Attributes:
        programs: Their directory.
        account: The account that runs them; `None` is the present user.
        fds: Open files that they need.
    """

    programs: Path
    account: Account | None
    fds: tuple[int, ...] = ()

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: str = "/",
        text: bytes | None = None,
        needs_name: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start the program; its stderr is a pipe.

        It gets a session of its own, so that Ctrl-C in the terminal goes to the service
        alone: the service still has rows to store.

        Args:
            arguments: The name of the program and its arguments.
            cwd: Its working directory.
            text: Whether its stdin is a pipe: any text, `None` for no input.
            needs_name: Whether the program looks up the name of its user.
        """
        program, *rest = arguments
        user = ("", "")
        if self.account is not None:
            user = (str(self.account.uid), str(self.account.gid))
        seen_uid = name_for(self.account) if needs_name else ""
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        return subprocess.Popen(  # noqa: S603
            [*launcher, *user, seen_uid, str(self.programs / program), *rest],
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=_ENVIRONMENT,
            pass_fds=self.fds,
            start_new_session=True,
        )

    def run(
        self,
        *arguments: str,
        cwd: str = "/",
        text: bytes | None = None,
        needs_name: bool = False,
        limit_s: float | None = _TOOL_LIMIT_S,
    ) -> None:
        """Run the program to its end.

        Raises:
            StoreUnavailable: it failed or did not end in time.
        """
        with self.start(
            arguments, cwd=cwd, text=text, needs_name=needs_name
        ) as process:
            try:
                _, errors = process.communicate(text, timeout=limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise StoreUnavailable(f"{arguments[0]} does not end") from None
        if process.returncode != 0:
            said = errors.decode(errors="replace").strip()
            raise StoreUnavailable(f"{arguments[0]} failed: {said}")
