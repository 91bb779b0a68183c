"""A server that answers and stores nothing: outages that look like faults of the rows."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.embedded.binaries import find_binaries
from greeks_trio.postgres.embedded.restarts import open_restartable_server
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import WakeUp
from tests.concurrency.fakes import MemoryQuarantine
from tests.factories import START, make_tick, tick_bytes
from tests.fix_postgres import QUICK, apply_schema, connect
from tests.snapshots import count
from tests.test_database_settings import set_for_all

pytestmark = pytest.mark.timeout(60)
