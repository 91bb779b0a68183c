"""The drill as a process: a short one that succeeds, and those that fail."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from greeks_trio.commands.cli import main
from tests.fix_processes import run_ingest

pytestmark = pytest.mark.timeout(200)

KINDS = (
    "kill-service",
    "stop-service",
    "kill-postgres",
    "cut-database",
    "lost-ack-database",
    "terminate-backend",
    "lock-table",
    "full-disk",
    "clock-step",
    "close-1012",
    "failover",
)
SMALL = ("--contracts", "30", "--rate", "60", "--interval", "3")
CLEAN_TWO = (
    *("not_stored", "false_gaps", "untold_gaps"),
    *("alerts_wrong", "not_delivered", "delivered_twice"),
)
CLEAN = ("lost", "duplicates", "unexpected", "unexplained", "missing_gaps")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where the drill makes its temporary directories."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    return scratch


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes that name the directory or work in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
        if any(str(directory) in word for word in words):
            found.append(process)
    return found


async def test_a_short_drill_ends_well(tmp_path, scratch):
    async with run_ingest(
        *("drill", "--minutes", "0.45", "--seed", "113", "--kinds", ",".join(KINDS)),
        *(*SMALL, "--json"),
        cwd=tmp_path,
    ) as drill:
        # Each of these has its own patience.
        for number in range(1, 6):
            await drill.wait_line(" recovered after ", number=number)
        await drill.wait_line("Comparing")
        status = await drill.wait_exit()

    result = json.loads(drill.lines["stdout"][-1])
    assert {name: result[name] for name in CLEAN} == dict.fromkeys(CLEAN, 0)
    assert status == 0
    assert result["ok"]
    assert (result["seed"], result["minutes"]) == (113, 0.45)
    assert result["kills"] > 0
    assert "failover" in {each["kind"] for each in result["faults"]}
    assert result["sent"] >= result["persisted"] >= result["durable"] > 0
    assert all(each["recovery_s"] is not None for each in result["faults"])
    sampled = [each for each in result["resources"] if each["tasks"]]
    assert sampled, result["resources"]
    for name in ("memory_mb", "open_files", "threads", "connections"):
        assert any(each[name] for each in sampled), name
    assert set(result["recovery_s"]) == {each["kind"] for each in result["faults"]}
    assert sum(" recovered after " in line for line in drill.lines["stderr"]) == len(
        result["faults"]
    )
    assert not list(scratch.iterdir())


async def test_ctrl_c_leaves_no_process_and_no_directory(tmp_path, scratch):
    async with run_ingest("drill", "--minutes", "5", *SMALL, cwd=tmp_path) as drill:
        await drill.wait_line(" recovered after ")
        assert processes_in(scratch)

        assert await drill.stop(signal.SIGINT) == 130
        assert "has not been compared" in drill.lines["stderr"][-1]

    assert not processes_in(scratch)
    assert not list(scratch.iterdir())


def test_a_directory_with_something_in_it_is_not_used(tmp_path, scratch, capfd):
    (tmp_path / "precious").touch()

    with pytest.raises(SystemExit) as ended:
        main(["drill", "--keep", str(tmp_path)])

    assert ended.value.code == 2
    assert "is not empty" in capfd.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"precious", "scratch"}


async def test_a_short_drill_of_two_services_stores_each_tick_once(tmp_path, scratch):
    async with run_ingest(
        *("drill", "--minutes", "0.04", "--seed", "14", "--kinds", "kill-one-of-two"),
        *("--contracts", "16", "--rate", "20", "--interval", "1.5", "--json"),
        cwd=tmp_path,
    ) as drill:
        # The time of the leases has to pass before and after the faults.
        await drill.wait_line("Comparing", patience_s=110)
        assert await drill.wait_exit() == 0

    result = json.loads(drill.lines["stdout"][-1])
    two = result["two_services"]
    assert {name: result[name] for name in CLEAN} == dict.fromkeys(CLEAN, 0)
    assert {name: two[name] for name in CLEAN_TWO} == dict.fromkeys(CLEAN_TWO, 0)
    assert two["alerts"] > 0
    assert result["kills"] == 2
    assert not list(scratch.iterdir())
