"""The demo as a newcomer runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess

import psutil
import pytest
import trio

from greeks_trio.config.settings import BROKERS
from greeks_trio.postgres.connection import TrioConnection
from tests.fix_processes import LAUNCHER, PATIENCE_S, kill_server, run_ingest

pytestmark = pytest.mark.timeout(200)

SMALL = ("--contracts", "20", "--rate", "60")
COUNTS = {
    "sent",
    "received",
    "persisted",
    "lost",
    "duplicates",
    "unexpected",
    "quarantined",
}


def assert_clean(result):
    assert result["sent"] == result["persisted"] > 0
    assert (result["lost"], result["duplicates"], result["unexpected"]) == (0, 0, 0)
    assert result["quarantined"] == 0


def assert_complete(last):
    assert last.keys() == COUNTS | {
        "seconds",
        "first_row_s",
        "latency_ms",
        "age_ms",
        "brokers",
    }
    assert_clean(last)
    assert set(last["brokers"]) == set(BROKERS)
    for counts in last["brokers"].values():
        assert counts.keys() >= COUNTS
        assert_clean(counts)
    for ages in (last["latency_ms"], last["age_ms"]):
        assert ages.keys() == {"p50", "p95", "p99", "max"}
        assert 0 < ages["p50"] <= ages["p95"] <= ages["p99"] <= ages["max"]
    assert last["age_ms"]["p50"] > last["latency_ms"]["p50"]
    assert last["seconds"] >= 4


async def test_both_feeds_are_healthy_and_a_used_directory_gives_the_same(
    cluster_directory, tmp_path
):
    """The plain book first, then a small one in the same directory."""
    data = cluster_directory / "data"
    for arguments in (("--seconds", "15"), ("--seconds", "4", *SMALL)):
        async with run_ingest(
            *("demo", *arguments, "--json", "--data-dir", data), cwd=tmp_path
        ) as demo:
            assert await demo.wait_exit() == 0, demo.transcript()

        first, last = map(json.loads, demo.lines["stdout"])
        assert first.keys() == {"dsn", "http"}
        assert "password=" not in first["dsn"]
        assert_complete(last)
        assert demo.count("Deliberate imperfections") == 1
        assert f"Look at the page:   {first['http']}/" in demo.lines["stderr"]
        if SMALL[0] not in arguments:
            assert demo.count("feed.connected broker=") == len(BROKERS)
            assert demo.count("degraded") == 0, demo.transcript()


async def test_killed_it_takes_its_children_along_which_have_no_secret(tmp_path):
    secret = {"TT_SECRET": "s3cret-of-the-account", "PGPASSWORD": "s3cret-of-the-role"}
    async with run_ingest("demo", *SMALL, cwd=tmp_path, environment=secret) as demo:
        await demo.wait_line("rows/s", stream="stdout")
        children = psutil.Process(demo.process.pid).children(recursive=True)
        assert len(children) >= 2
        # No other program gets the secrets of the service.
        assert "s3cret" not in str([child.environ() for child in children])
        await demo.stop(signal.SIGKILL)

        _gone, alive = await trio.to_thread.run_sync(
            lambda: psutil.wait_procs(children, timeout=PATIENCE_S)
        )
        assert alive == []


async def test_a_postgresql_that_is_killed_comes_back_and_nothing_is_lost(
    cluster_directory, tmp_path
):
    """Twice; the second time the demo waits for it at its own end."""
    data = cluster_directory / "data"
    arguments = ("demo", *SMALL, "--json", "--data-dir", data)
    async with run_ingest(*arguments, cwd=tmp_path) as demo:
        dsn = (await demo.read_json())["dsn"]
        await demo.wait_line("writer.connected")
        async with await TrioConnection.connect(dsn) as connection:
            cursor = await connection.execute("select count(*) from greek_snapshots")
            assert await cursor.fetchone()
        kill_server(data)
        await demo.wait_line("embedded.ended status=-9")
        await demo.wait_line("embedded.started_again")
        await demo.wait_line("writer.connected", number=2)

        said = demo.count("writer.retrying")
        kill_server(data)
        await demo.wait_line("writer.retrying", number=said + 1)
        children = psutil.Process(demo.process.pid).children(recursive=True)
        assert children
        assert await demo.stop(signal.SIGTERM) == 0

    assert_clean(json.loads(demo.lines["stdout"][-1]))
    assert demo.count("CRITICAL") == demo.count("embedded.ended") == 2
    assert demo.count("service.left_in_spool") == 0
    assert "Traceback" not in demo.transcript()
    assert not [child for child in children if child.is_running()]


def test_in_a_terminal_it_shows_a_table_and_ctrl_c_leaves_nothing(tmp_path):
    """A pseudo-terminal, read to its end, as a person would see it."""
    ours, theirs = pty.openpty()
    shown, is_stopped = b"", False
    with subprocess.Popen(
        [LAUNCHER, "demo", *SMALL],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    ) as demo:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 65_536):
                shown += chunk
                if not is_stopped and has_words(plain(shown)):
                    children = psutil.Process(demo.pid).children(recursive=True)
                    demo.send_signal(signal.SIGINT)
                    is_stopped = True
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
            if not is_stopped:
                demo.kill()

    assert demo.returncode == 0, plain(shown)
    assert is_stopped, plain(shown)
    for words in ("Sent and stored ticks", "frame read to commit"):
        assert words in plain(shown)
    at_the_end = plain(shown).rpartition("frame read to commit")[2]
    assert "Risk by underlying" in at_the_end
    assert "SPX" in at_the_end
    assert "Traceback" not in plain(shown)
    assert len(children) >= 2
    assert not [child for child in children if child.is_running()]


def plain(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))


def has_words(text):
    """Return whether both feeds of the table are connected, with the risk below."""
    words = ("session", "contracts", "frame read to durable", "underlying", "together")
    return all(word in text for word in words) and text.count("connected") >= 2
