"""The SDK comes without pandas and pyarrow, which take 90 MB."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import greeks_trio.service
print({"pandas", "pyarrow", "pandas_market_calendars"} & sys.modules.keys())
import pandas, pandas_market_calendars
print(pandas.Timestamp("2026-11-30").year)
"""


def test_the_service_does_not_load_pandas_and_others_still_can():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )

    assert ended.stdout.split() == ["set()", "2026"], ended.stderr
