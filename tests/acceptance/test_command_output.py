"""The output of commands that is full, closed, or not read to its end."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from greeks_trio.commands.cli import commands
from tests.fix_processes import CHECKOUT

pytestmark = pytest.mark.timeout(120)

# As the launcher starts it.
PROGRAM = f"exec {sys.executable} -m greeks_trio"
FULL = "The output cannot be written: No space left on device."


def run_shell(script, cwd, *, stdin=subprocess.DEVNULL):
    return subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "HOME": str(cwd)},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def directory(tmp_path):
    # Nothing listens on port 1, so the check fails at once.
    (tmp_path / ".env").write_text(
        "POSTGRES_PORT=1\nIBKR_ENABLED=true\nGREEKS_HTTP_BIND=127.0.0.1:0\n"
        "IBKR_API_URL=https://localhost:1/v1/api\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("command", "redirection", "status", "said"),
    [
        ("check", "> /dev/full", 1, FULL),
        ("check", ">&-", 1, ""),
        ("--help", "> /dev/full", 1, FULL),
        ("--version", ">&-", 0, ""),
        ("migrate", "2> /dev/full", 1, ""),
        ("migrate", "2>&-", 1, ""),
        ("status --url http://127.0.0.1:1", "> /dev/full", 2, FULL),
        ("status --url http://127.0.0.1:1", ">&- 2>&- <&-", 2, ""),
        ("quarantine", "> /dev/full", 1, FULL),
    ],
)
def test_output_that_cannot_be_written_is_one_line_or_none(
    directory, command, redirection, status, said
):
    ended = run_shell(f"{PROGRAM} {command} {redirection}", directory)

    assert (ended.returncode, ended.stderr.strip()) == (status, said)


def test_a_reader_that_leaves_does_not_change_the_status(directory):
    script = f"({PROGRAM} check) | head -1; exit ${{PIPESTATUS[0]}}"

    ended = run_shell(script, directory)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.splitlines() == ["configuration: fine"]


@pytest.mark.parametrize("limit", [14, 20])
def test_too_few_file_handles_are_one_line_with_the_remedy(directory, limit):
    ended = run_shell(f"ulimit -n {limit}; {PROGRAM} check", directory)

    assert ended.returncode == 1
    assert "ulimit -n" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_versions_are_in_one_line(tmp_path):
    ended = run_shell(f"{PROGRAM} --version", tmp_path)

    assert re.fullmatch(
        r"greeks-trio \d+\.\d+\.\d+, Python 3\.\d+\.\d+, bundled PostgreSQL 18\.\d+\n",
        ended.stdout,
    )


def test_bash_completes_the_commands(tmp_path):
    completed = run_shell(
        "_RUN_INGEST_COMPLETE=bash_complete COMP_WORDS='run-ingest ' COMP_CWORD=1 "
        + PROGRAM,
        tmp_path,
    )

    visible = {name for name, each in commands.commands.items() if not each.hidden}
    assert {line.removeprefix("plain,") for line in completed.stdout.split()} == visible


def test_the_script_for_bash_can_be_loaded(tmp_path):
    script = (
        f"_RUN_INGEST_COMPLETE=bash_source {sys.executable} -m greeks_trio > it"
        " && . ./it && complete -p run-ingest"
    )

    ended = run_shell(script, tmp_path)

    assert "_run_ingest_completion run-ingest" in ended.stdout
