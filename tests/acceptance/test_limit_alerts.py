"""Limits as their users meet them: a breach, kill -9 in it, and the recovery."""

from __future__ import annotations

import signal
import threading
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
import trio

from tests.alert_receivers import WebHook, take_mail
from tests.event_client import open_events
from tests.fix_processes import fetch, run_ingest, wait_until

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")
TOKEN = "T0KEN-OF-THE-HOOK-THAT-IS-SECRET"
PASSWORD = "p4ssword-of-the-desk"
RULE = """
[[rule]]
name = "Book delta"
figure = "dollar_delta"
severity = "critical"
abs_above = {}
"""


@asynccontextmanager
async def web_hook(status=200):
    hook = WebHook()
    hook.status = status
    thread = threading.Thread(target=hook.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        thread.join()
        hook.server.server_close()


@asynccontextmanager
async def receivers():
    """Yield a web server, the mails, and the setting with two bad channels as well."""
    mails = []

    async def accept_only(_stream):
        await trio.sleep_forever()

    async with web_hook() as hook, web_hook(500) as broken, trio.open_nursery() as all_:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        talk = partial(take_mail, mails, trio.Event())
        all_.start_soon(trio.serve_listeners, talk, listeners)
        hanging = await trio.open_tcp_listeners(0, host="127.0.0.1")
        all_.start_soon(trio.serve_listeners, accept_only, hanging)
        smtp, dead = (each[0].socket.getsockname()[1] for each in (listeners, hanging))
        channels = (
            f"hanging=json://127.0.0.1:{dead}/{TOKEN}",
            f"broken={broken.url}/{TOKEN}",
            f"hook=json://desk:{PASSWORD}@{hook.url.partition('://')[2]}/{TOKEN}",
            f"mail=mailto://127.0.0.1:{smtp}?smtp=127.0.0.1&mode=insecure"
            "&from=desk@example.com&to=risk@example.com",
        )
        yield hook, mails, " ".join(channels)
        all_.cancel_scope.cancel()


async def wait_delivered(stage, number):
    await wait_until(
        stage.database,
        f"select count(*) = {2 * number} from alert_deliveries"
        " where channel in ('hook', 'mail') and outcome = 'sent'",
    )


async def wait_looked(stage):
    await wait_until(
        stage.database,
        "select bool_and(evaluated_at > clock_timestamp() - interval '1 s'"
        " and state = 'breached' and reason is null) from alerts",
    )


async def test_a_breach_survives_kill_9_and_is_told_once(stage):
    rules = stage.directory / "alerts.toml"
    rules.write_text(RULE.format(1))
    async with (
        receivers() as (hook, mails, urls),
        stage.simulate(*SMALL) as simulators,
    ):
        stage.configure(
            await simulators.read_json(),
            GREEKS_ALERTS_FILE=rules,
            GREEKS_ALERT_URLS=urls,
            GREEKS_ALERTS_INTERVAL_S="0.2",
        )
        async with stage.serve() as killed:
            await wait_until(stage.database, "select to_regclass('alerts') is not null")
            await wait_delivered(stage, 1)
            killed.send(signal.SIGKILL)
            await killed.wait_exit()
        async with (
            stage.serve() as service,
            run_ingest("alerts", "--test", cwd=stage.directory) as tested,
        ):
            line = await service.wait_line("http.listening")
            url = line.rpartition("url=")[2]
            await service.wait_line("alerts.sent_again")
            await wait_looked(stage)
            assert len(list(filter(None, hook.keys))) == 1
            assert len([each for each in mails if each["Idempotency-Key"]]) == 1
            async with run_ingest("alerts", cwd=stage.directory) as shown:
                assert await shown.wait_exit() == 0

            rules.write_text(RULE.format("'many'") + "x = 1\n")
            service.send(signal.SIGHUP)
            await service.wait_line("alerts.rules_refused", number=2)
            rules.write_text(RULE.format(1e15))
            async with open_events(url) as events:
                present = await events.value("alert")
                service.send(signal.SIGHUP)
                recovery = await events.value("alert")
            await wait_delivered(stage, 2)
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                state = await client.get("/v1/alerts")
                history = await client.get("/v1/alerts/events")
                status = await client.get("/v1/streaming/status")
            assert await service.stop() == 0
            outcome = await tested.wait_exit()
        tables = await fetch(
            stage.database,
            "select e::text, d::text from alert_events e"
            " left join alert_deliveries d using (message_id)",
        )

    # A sample has no key.
    sent = [
        (key, body)
        for key, body in zip(hook.keys, hook.bodies, strict=True)
        if key is not None
    ]
    mailed = [each["Idempotency-Key"] for each in mails if each["Idempotency-Key"]]
    titles = [body["title"] for _, body in sent]
    assert [each.rpartition(": ")[2] for each in titles] == ["breach", "recovery"]
    assert "critical: Book delta: breach" in titles[0]
    assert "dollar_delta (whole book)" in sent[0][1]["message"]
    assert len(set(mailed)) == 2
    assert mailed == [key for key, _ in sent]

    assert (present["kind"], recovery["kind"]) == ("breach", "recovery")
    [row] = state.json()["items"]
    assert (row["state"], row["last_event"]) == ("ok", "recovery")
    events = history.json()["items"]
    assert [each["kind"] for each in events] == ["breach", "recovery"]
    for event in events:
        outcomes = {each["channel"]: each["outcome"] for each in event["deliveries"]}
        assert outcomes == {
            "hanging": "waiting",
            "broken": "waiting",
            "hook": "sent",
            "mail": "sent",
        }

    shown_lines = "\n".join(shown.lines["stdout"])
    assert "Book delta" in shown_lines
    assert "breached" in shown_lines
    lines = {each.partition(" (")[0]: each for each in tested.lines["stdout"]}
    assert outcome == 1
    assert lines["mail"].endswith(": sent")
    assert lines["hook"].endswith(": sent")
    assert "500" in lines["broken"]
    assert "onnection error" in lines["hanging"]

    told = "\n".join(
        (
            *(killed.transcript(), service.transcript(), tested.transcript()),
            *(state.text, history.text, status.text, shown.transcript(), str(tables)),
        )
    )
    assert TOKEN not in told
    assert PASSWORD not in told
