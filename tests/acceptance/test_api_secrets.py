"""No answer and no line of the log contains a secret of the service."""

from __future__ import annotations

import pytest
import trio

from tests.acceptance.api_stage import TOKEN, serving

pytestmark = pytest.mark.timeout(120)

SECRETS = ("POSTGRES_PASSWORD", "TT_SECRET", "TT_REFRESH", "GREEKS_API_TOKEN")
FOREIGN = {"Origin": "https://evil.example"}
EVENTS = (b"sessions", b"slo", b"greeks")
WRONG = {"Authorization": "Bearer wrong"}


async def answers_of(client, method, path):
    """Yield the answers to a good request and to bad ones."""
    content = b"{}" if method in {"post", "put", "patch"} else None
    for headers in ({}, WRONG, FOREIGN, {"Content-Type": "text/plain"}):
        json = {"Content-Type": "application/json"} if content else {}
        response = await client.request(
            method.upper(), path, content=content, headers=json | headers
        )
        yield f"{response.headers}\n{response.text}"


async def begin_of_stream(client):
    """Return the first events of the stream, which has no end."""
    async with await trio.open_tcp_stream(
        client.base_url.host, client.base_url.port
    ) as stream:
        await stream.send_all(
            b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
        )
        text = b""
        while not all(b"event: %b" % each in text for each in EVENTS):
            text += await stream.receive_some()
        return text.decode()


async def test_no_secret_is_in_any_answer_or_in_the_log(stage):
    seen = []
    async with serving(stage, GREEKS_LOG_LEVEL="DEBUG") as (service, client):
        description = (await client.get("/openapi.json")).json()
        login = await client.post("/v1/session", json={"token": TOKEN})
        for path, methods in description["paths"].items():
            for method in methods:
                if path == "/v1/stream":
                    seen.append(await begin_of_stream(client))
                    continue
                seen += [text async for text in answers_of(client, method, path)]
        for odd in ("/nothing", "/v1/session?token=x", "/openapi.json"):
            response = await client.get(odd)
            seen.append(f"{response.headers}\n{response.text}")

    env = dict(
        line.split("=", 1) for line in stage.env_file.read_text().splitlines() if line
    )
    session_id = login.cookies["greeks_session"]
    secrets = [env[name] for name in SECRETS if env[name]] + [session_id]
    answers = "\n".join(seen)
    assert len(secrets) >= 4
    assert "sessions" in answers
    assert "contract_key" in answers
    for secret in secrets:
        assert secret not in answers
        assert secret not in service.transcript()
        assert secret not in "\n".join(service.lines["stderr"])
    assert "Traceback" not in "\n".join(service.lines["stderr"])
