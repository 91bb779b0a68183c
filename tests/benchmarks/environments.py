"""Virtual environments for the programs that we compare with, kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.report import say

_LIMIT_S = 600.0


class Unavailable(Exception):
    """The environment cannot be made here; the message says why, for a table."""


def cache_directory() -> Path:
    """Return the directory that keeps the environments."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "greeks-trio-benchmarks")


def environment(
    name: str, packages: Sequence[str], oldest: tuple[int, int] = (3, 11)
) -> Path:
    """Return the Python of an environment with these packages; made once.

    Raises:
        Unavailable: there is no fitting Python, or the packages cannot be installed.
    """
    directory = cache_directory() / name
    python, mark = directory / "bin/python", directory / "packages"
    wanted = "\n".join(packages)
    if mark.is_file() and mark.read_text() == wanted and _version_of(python):
        return python
    base = find_python(oldest)
    say(f"making an environment for {', '.join(packages)} in {directory}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _run([base, "-I", "-m", "venv", directory], "cannot make an environment")
    install = [python, "-I", "-m", "pip", "install", "--quiet", "--no-input"]
    _run([*install, *packages], f"cannot install {', '.join(packages)}")
    mark.write_text(wanted)
    return python


def find_python(oldest: tuple[int, int]) -> Path:
    """Return a Python that is new enough.

    Raises:
        Unavailable: this machine has none.
    """
    for candidate in _pythons():
        found = _version_of(candidate)
        if found is not None and found >= oldest:
            return candidate
    raise Unavailable(f"no Python {oldest[0]}.{oldest[1]} or later on this machine")


def _pythons() -> Iterator[Path]:
    yield Path(sys.executable)
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3"):
        if found := shutil.which(name):
            yield Path(found)
    # pyenv's own commands only lead to the version that is chosen at the moment.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob("versions/3.*/bin/python3"), reverse=True)


def _version_of(python: Path) -> tuple[int, int] | None:
    code = "import sys, venv; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    if done.returncode:
        return None
    major, minor = map(int, done.stdout.split())
    return major, minor


def _run(command: Sequence[object], problem: str) -> None:
    try:
        done = subprocess.run(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{problem} within {_LIMIT_S:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"{problem}: {lines[-1] if lines else done.returncode}")
