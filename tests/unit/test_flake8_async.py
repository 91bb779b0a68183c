"""bin/flake8-async finds what the command of flake8-async finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bin/flake8-async"
# The codes of bin/test.
SELECTED = ("--enable=ASYNC1,ASYNC2,ASYNC4", "--disable=ASYNC114")
# Rules of the concrete syntax, of the abstract one, and of both with a comment.
ASYNCHRONOUS = """\
import trio
async def without_await():
    return 1
async def scope_without_await():
    with trio.move_on_after(3):
        print(1)
async def yields():
    async with trio.open_nursery() as nursery:
        yield nursery
async def swallows():
    try:
        await trio.sleep(1)
    except BaseException:
        pass
async def silenced():  # noqa: ASYNC124
    try:
        return 1
    except BaseException:  # noqa: ASYNC103
        pass
"""
SYNCHRONOUS = """\
def swallows():
    try:
        print(1)
    except BaseException:
        pass
"""


def test_it_finds_the_same_and_ends_with_the_same_status(tmp_path):
    (tmp_path / "asynchronous.py").write_text(ASYNCHRONOUS)
    (tmp_path / "synchronous.py").write_text(SYNCHRONOUS)
    (tmp_path / "nothing.py").write_text("x = 1\n")
    names = ("asynchronous.py", "nothing.py", "synchronous.py")

    ours, theirs = (
        subprocess.run(
            [sys.executable, *program, *SELECTED, *names],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for program in ([SCRIPT], ["-m", "flake8_async"])
    )

    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr == ""
    found = {line.split()[1] for line in ours.stdout.splitlines()}
    assert found >= {"ASYNC100", "ASYNC101", "ASYNC103", "ASYNC119", "ASYNC124"}
    assert "synchronous.py:4:" in ours.stdout


def test_nothing_found_is_no_failure(tmp_path):
    (tmp_path / "nothing.py").write_text("import trio\n")

    ended = subprocess.run(
        [sys.executable, SCRIPT, *SELECTED, tmp_path / "nothing.py"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
