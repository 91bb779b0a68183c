"""The SDK comes without pyarrow, which takes 35 MB."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

PROGRAM = """
import sys
import greeks_trio.service
is_loaded = "pyarrow" in sys.modules
import pandas, pyarrow, pyarrow.parquet
frame = pyarrow.table({"delta": [0.5]}).to_pandas()
print(is_loaded, pandas.Timestamp("2026-11-30").year, frame["delta"][0])
"""


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_the_service_does_not_load_pyarrow_and_the_archive_still_can():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )

    assert ended.stdout.split() == ["False", "2026", "0.5"], ended.stderr
