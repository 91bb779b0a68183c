"""Several services as their users run them: one file, one process for each."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import asynccontextmanager, suppress

import httpx2
import psutil
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.fix_processes import fetch, run_ingest, wait_until

pytestmark = pytest.mark.timeout(120)

NAMES = ("desk-ibkr", "desk-tastytrade")
SCHEMAS = tuple(f'"{name}"' for name in NAMES)
SMALL = ("--contracts", "10", "--rate", "40")
HAS_TICKS = "(select count(*) from {}.greek_snapshots where delta is not null) >= {}"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def fleet_file(stage, endpoints, name="fleet.toml", more=""):
    """Write a fleet of two services, each with one broker and a schema of its own."""
    stage.configure(endpoints)
    of_broker = {"ibkr": ("IBKR_",), "tastytrade": ("TASTYTRADE_", "TT_")}
    lines = dict(line.split("=", 1) for line in stage.env_file.read_text().splitlines())
    common = {key: text for key, text in lines.items() if key.startswith("POSTGRES_")}
    tables = {
        "settings": common,
        "fleet": {"GREEKS_HTTP_BIND": f"127.0.0.1:{free_port()}"},
    }
    for broker, prefixes in of_broker.items():
        tables[f"services.desk-{broker}.settings"] = {
            key: text for key, text in lines.items() if key.startswith(prefixes)
        } | {"GREEKS_SPOOL_DIR": str(stage.directory / broker)}
    path = stage.directory / name
    path.touch(mode=0o600)
    path.write_text(
        "\n".join(
            f"[{table}]\n"
            + "".join(f"{key} = '{text}'\n" for key, text in settings.items())
            for table, settings in tables.items()
        )
        + more
    )
    stage.env_file.unlink()
    return path


@asynccontextmanager
async def running(stage, *arguments):
    """Yield the fleet and a client of its interface."""
    async with stage.simulate(*SMALL) as simulators:
        path = fleet_file(stage, await simulators.read_json())
        async with run_ingest("fleet", path, *arguments, cwd=stage.directory) as fleet:
            line = await fleet.wait_line("http.listening")
            url = line.split("url=")[1].split()[0]
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                yield fleet, client, path


async def until(client, path, is_right):
    """Ask until an answer is right, and return it."""
    with trio.fail_after(40):
        while True:
            answer = await client.get(path)
            if is_right(answer):
                return answer
            await trio.sleep(0.2)


async def test_two_services_run_and_one_that_is_killed_comes_back(stage):
    async with running(stage) as (fleet, client, path):
        ready = await until(client, "/readyz", lambda each: each.status_code == 200)
        assert ready.json() == {"status": "ready", "services": {}}
        for schema in SCHEMAS:
            await wait_until(stage.database, HAS_TICKS.format(schema, 5))
        await assert_joined_metrics(client)
        description = (await client.get("/openapi.json")).json()
        assert "/v1/status" in description["paths"]
        status = await until(
            client,
            "/v1/status",
            lambda each: each.json()["summary"]["ticks_per_second"] > 0,
        )
        assert_joined_status(status.json())

        shown = await output_of(stage, "fleet", path, "--status")
        url = str(client.base_url)
        # Healthy or degraded, which may change in between.
        assert (await output_of(stage, "status", "--url", url))[0] in (0, 1)
        assert shown[0] in (0, 1)

        views = await output_of(stage, "fleet-views", path)
        assert views == (0, await made_views(stage)), views
        await assert_views_have_both(stage)

        pid = status.json()["services"]["desk-ibkr"]["pid"]
        os.kill(pid, signal.SIGKILL)
        away = await until(client, "/readyz", lambda each: each.status_code == 503)
        [reason] = away.json()["services"]["desk-ibkr"]
        assert re.match(r"no answer since 20\d\d-.* UTC: ", reason), reason
        named = (await client.get("/v1/status")).json()
        assert named["services"]["desk-ibkr"]["no_answer_since"] is not None
        assert named["services"]["desk-ibkr"]["ticks_per_second"] is None
        assert named["summary"]["health"] == "down"
        await until(client, "/readyz", lambda each: each.status_code == 200)
        back = (await client.get("/v1/status")).json()["services"]["desk-ibkr"]
        assert back["pid"] != pid
        assert (back["restarts"], back["last_end"]) == (1, "ended by SIGKILL")
        assert back["url"] == status.json()["services"]["desk-ibkr"]["url"]

        assert await fleet.stop() == 0
    assert "2 of 2 services are ready" in shown[1]
    for name in NAMES:
        assert name in shown[1]
    assert fleet.count("fleet.stopped service=") == 2
    # The lines of a service, one of them from its own clean end.
    for name in NAMES:
        assert fleet.count(f"[{name}] ") > 10
        assert any(
            f"[{name}]" in line and "service.stopped" in line
            for line in fleet.lines["stderr"]
        )
    text = fleet.transcript()
    assert stage.database.password.reveal() not in text
    assert "Traceback" not in text


async def made_views(stage):
    """Return the words about the views that are there."""
    query = "select count(*) from pg_views where schemaname = 'fleet'"
    [(number,)] = await fetch(stage.database, query)
    assert number > 20
    return (
        f"database: {number} views in the schema fleet, {number} of them new or changed"
    )


async def assert_views_have_both(stage):
    for view, is_ours in (
        ("latest_greeks", "delta is not null"),
        ("portfolio_greeks", "currency = 'USD'"),
        ("risk_totals", "group_by = 'broker'"),
    ):
        rows = await fetch(
            stage.database,
            f"select service, array_agg(distinct broker) from fleet.fleet_{view}"
            f" where {is_ours} group by service order by service",
        )
        assert rows == [(name, [name.removeprefix("desk-")]) for name in NAMES], view


def assert_joined_status(status):
    assert status["summary"]["services"] == status["summary"]["ready"] == 2
    assert status["summary"]["not_ready"] == {}
    assert list(status["services"]) == list(NAMES)
    for name in NAMES:
        each = status["services"][name]
        assert each["schema"] == name
        assert each["is_ready"]
        assert each["health"] in ("healthy", "degraded")
        assert each["sessions"][0]["broker"] == name.removeprefix("desk-")
        assert each["status"]["database"]["connected"]
        assert each["answer_age_s"] < 8


async def assert_joined_metrics(client):
    text = (await client.get("/metrics")).text
    families = list(parse_text(text))
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names)) > 50
    assert all(family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["service"] for sample in samples} == set(NAMES)
    assert len({(each.name, *each.labels.items()) for each in samples}) == len(samples)
    values = {
        (each.name, each.labels["service"]): each.value
        for each in samples
        if len(each.labels) == 1
    }
    for name in NAMES:
        assert values["greeks_fleet_service_up", name] == 1
        assert values["greeks_fleet_service_ready", name] == 1
        assert values["greeks_fleet_service_restarts_total", name] == 0
        assert values["greeks_database_connected", name] == 1


async def output_of(stage, *arguments):
    """Return the exit status and the output of a command."""
    async with run_ingest(*arguments, cwd=stage.directory) as command:
        status = await command.wait_exit()
        return status, command.transcript()


async def test_the_file_is_read_again_and_a_killed_fleet_leaves_nothing_behind(stage):
    async with stage.simulate(*SMALL) as simulators:
        path = fleet_file(stage, await simulators.read_json())
        good = path.read_text()
        changed = good[: good.index("[services.desk-ibkr")]
        changed += good[good.index("[services.desk-tastytrade") :]
        async with run_ingest("fleet", path, cwd=stage.directory) as fleet:
            await fleet.wait_line("fleet.started service=desk-ibkr")
            line = await fleet.wait_line("fleet.started service=desk-tastytrade")
            [_, kept, _] = re.split(r"pid=(\d+)", line)
            # At once: the service is still starting, and may not be ended by it.
            path.write_text(f"{good}\nX = 1\n")
            fleet.send(signal.SIGHUP)
            await fleet.wait_line("config.rejected problem=X (in [services.desk-tasty")
            path.write_text(changed)
            fleet.send(signal.SIGHUP)
            await fleet.wait_line("fleet.stopped service=desk-ibkr")
            await fleet.wait_line("config.reloaded")
            await fleet.wait_line("writer.connected")
            assert fleet.count("fleet.ended") == 0
            path.write_text(f"{changed}GREEKS_BATCH_ROWS = 77\n")
            fleet.send(signal.SIGHUP)
            await fleet.wait_line("fleet.changed service=desk-tastytrade")
            line = await fleet.wait_line(
                "fleet.started service=desk-tastytrade", number=2
            )
            [_, second, _] = re.split(r"pid=(\d+)", line)
            assert second != kept
            await fleet.wait_line("pipeline.batch_rows=77")
            await fleet.wait_line("writer.connected", number=2)
            fleet.send(signal.SIGKILL)
            await fleet.process.wait()
        path.write_text(good)
        async with run_ingest("fleet", path, cwd=stage.directory) as again:
            for name in NAMES:
                await again.wait_line(f"fleet.started service={name}")
            await trio.to_thread.run_sync(wait_ended, int(second))
            assert await again.stop() == 0
    assert "Traceback" not in fleet.transcript() + again.transcript()


def wait_ended(pid):
    """Return when a process has ended, also if its parent has not asked for its status."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        deadline = time.monotonic() + 10
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


async def test_a_wrong_file_starts_nothing(stage):
    path = stage.directory / "fleet.toml"
    path.write_text("[services.a]\nenv_file = 'none'\n[services.b]\n")

    status, said = await output_of(stage, "fleet", path)

    assert status == 2
    assert "configuration: service a: env_file in " in said
    assert "configuration: service b: no broker is enabled" in said
    assert "fleet.started" not in said


async def test_a_command_runs_with_the_settings_of_one_service(stage):
    path = stage.directory / "fleet.toml"
    path.write_text(
        "[settings]\nIBKR_ENABLED = true\nPOSTGRES_DB = 'desks'\n"
        "[services.a]\n[services.b]\n"
    )
    (stage.directory / ".env").write_text("POSTGRES_DB=another\n")

    status, said = await output_of(stage, "fleet-run", path, "b", "dsn")
    unknown = await output_of(stage, "fleet-run", path, "c", "check", "--json")

    assert status == 0, said
    assert "/desks?" in said
    assert "search_path" in said
    assert "another" not in said
    assert unknown[0] == 2
    assert "fleet.toml has no service 'c'; it has a, b." in unknown[1]
