"""The last release: the program that the next one must be able to run beside.

Set `COMMIT` to the commit of each new release.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

COMMIT = "aab3c49bbafb14e9126340b6fed8b4723e186d56"
_CHECKOUT = Path(__file__).parent.parent
# The program needs these, and nothing else.
_PARTS = ("greeks_trio", "db", "pyproject.toml")


def unpack_last_release(directory):
    """Put the program of the last release into the directory, from the history of Git."""
    archive = subprocess.run(
        ["git", "archive", COMMIT, *_PARTS],
        cwd=_CHECKOUT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.fail(
            f"the last release, commit {COMMIT}, is not in this clone, because a part of"
            " the history is missing: run git fetch --unshallow, or clone it whole"
            f" ({archive.stderr.decode().strip()})"
        )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        # Python 3.11.2 has no filters yet; the archive is our own.
        if hasattr(tarfile, "data_filter"):
            files.extraction_filter = tarfile.data_filter
        files.extractall(directory)  # noqa: S202
