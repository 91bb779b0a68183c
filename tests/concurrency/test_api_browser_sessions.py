"""The session of a page: a cookie in place of the token."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
import trio

from greeks_trio.api.access.browser_sessions import (
    SESSION_COOKIE,
    SESSION_PATH,
    BrowserSessions,
)
from greeks_trio.api.access.limits import Limits
from greeks_trio.config.settings import Secret
from tests.concurrency.api_server import BEARER, JSON, TOKEN, WITH_TOKEN, serving

AT_ONCE = Limits(wrong_token_s=0)


def login(server, token=TOKEN, **headers):
    return server.client.post(SESSION_PATH, json={"token": token}, headers=headers)


def cookie_of(response):
    return SimpleCookie(response.headers["set-cookie"])[SESSION_COOKIE]


async def test_the_token_becomes_a_cookie_that_opens_the_rest():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        before = await server.client.get("/read")
        response = await login(server)
        after = await server.client.get("/read")

    assert (before.status_code, response.status_code, after.status_code) == (
        401,
        204,
        200,
    )


async def test_the_header_will_do_in_place_of_a_token_in_the_body():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await server.client.post(SESSION_PATH, json={}, headers=BEARER)
        after = await server.client.get("/read")

    assert (response.status_code, after.status_code) == (204, 200)


async def test_no_script_and_no_other_site_gets_the_cookie():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        cookie = cookie_of(await login(server))
        again = cookie_of(await login(server))

    assert cookie["httponly"] is True
    assert cookie["samesite"] == "strict"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""
    assert int(cookie["max-age"]) == 12 * 3600
    assert TOKEN not in cookie.value
    assert len(cookie.value) >= 43  # 256 bits
    assert again.value != cookie.value


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [
        ({}, ""),
        ({"Origin": "http://greeks.example"}, ""),
        ({"Origin": "https://greeks.example"}, True),
        ({"X-Forwarded-Proto": "https"}, ""),
    ],
)
async def test_behind_tls_the_cookie_stays_there(headers, is_secure):
    """The browser says so in ``Origin``, which no page can forge."""
    async with serving(AT_ONCE, host="0.0.0.0", **WITH_TOKEN) as server:  # noqa: S104
        url = f"http://127.0.0.1:{server.port}{SESSION_PATH}"
        response = await server.client.post(
            url,
            json={"token": TOKEN},
            headers={"Host": "greeks.example"} | headers,
        )

    assert cookie_of(response)["secure"] == is_secure


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"token": "wrong"}', 401),
        (b'{"token": ""}', 401),
        (b'{"token": "\\ud800"}', 400),
        (b'{"token": "a\\u0000"}', 401),
        (b'{"token": 1}', 422),
        (b'{"token": "x", "more": 1}', 422),
        (b"{}", 401),
        (b"[]", 422),
        (b"null", 422),
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
    ],
)
async def test_without_the_token_there_is_no_cookie(content, status):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await server.client.post(SESSION_PATH, content=content, headers=JSON)
        after = await server.client.get("/read")

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in response.headers
    assert after.status_code == 401


async def test_a_wrong_header_is_refused_also_with_the_token_in_the_body():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await login(server, Authorization="Bearer wrong")

    assert response.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_another_site_cannot_begin_a_session(headers):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await login(server, **headers)

    assert response.status_code in {403, 415}
    assert "set-cookie" not in response.headers


async def test_another_sites_page_does_not_use_the_session():
    """Same-site is not same-origin: another port of localhost gets the cookie."""
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        await login(server)
        for site in ("same-site", "cross-site"):
            foreign = {"Sec-Fetch-Site": site}
            read = await server.client.get("/read", headers=foreign)
            write = await server.client.post(
                "/write", content=b"{}", headers=JSON | foreign
            )

            assert (read.status_code, write.status_code) == (403, 403)

    assert server.routes.bodies == []


async def test_a_cookie_that_was_kept_is_worthless_after_the_end_of_its_session():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        kept = cookie_of(await login(server)).value
        response = await server.client.delete(SESSION_PATH)
        server.client.cookies.set(SESSION_COOKIE, kept)
        after = await server.client.get("/read")
        again = await server.client.delete(SESSION_PATH)

    assert response.status_code == again.status_code == 204
    assert int(cookie_of(response)["max-age"]) == 0
    assert after.status_code == 401


@pytest.mark.parametrize(
    "cookie",
    [
        f"{SESSION_COOKIE}=",
        f"{SESSION_COOKIE}={TOKEN}",
        f"{SESSION_COOKIE}=\xff",
        SESSION_COOKIE,
        f'{SESSION_COOKIE}="',
        f"x{SESSION_COOKIE}=x; ; =; {SESSION_COOKIE}",
    ],
)
async def test_an_invented_cookie_opens_nothing(cookie):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        headers = {"Cookie": cookie.encode("latin-1")}
        response = await server.client.get("/read", headers=headers)

    assert response.status_code == 401


async def test_another_programs_cookie_of_the_same_name_does_not_hide_ours():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        ours = cookie_of(await login(server)).value
        server.client.cookies.clear()
        responses = [
            await server.client.get("/read", headers={"Cookie": cookies})
            for cookies in (
                f"{SESSION_COOKIE}=theirs; {SESSION_COOKIE}={ours}",
                f"{SESSION_COOKIE}={ours}; other=1; {SESSION_COOKIE}=theirs",
            )
        ]

    assert [each.status_code for each in responses] == [200, 200]


async def test_without_a_token_in_the_configuration_no_session_is_needed():
    async with serving() as server:
        begun = await login(server, token="whatever")
        empty = await server.client.post(SESSION_PATH, json={})
        odd = await server.client.post(SESSION_PATH, json=[])
        ended = await server.client.delete(SESSION_PATH)

    assert odd.status_code == 422
    assert [each.status_code for each in (begun, empty, ended)] == [204] * 3
    assert "set-cookie" not in begun.headers
    assert "set-cookie" not in ended.headers


async def test_the_page_can_ask_for_the_state_of_its_session():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        before = await server.client.get(SESSION_PATH)
        await login(server)
        inside = await server.client.get(SESSION_PATH)
        await server.client.delete(SESSION_PATH)
        server.client.cookies.set(SESSION_COOKIE, "invented")
        after = await server.client.get(SESSION_PATH)
    async with serving() as server:
        free = await server.client.get(SESSION_PATH)

    assert before.json() == {"token_needed": True, "session_open": False}
    assert inside.json() == {"token_needed": True, "session_open": True}
    assert after.json() == {"token_needed": True, "session_open": False}
    assert free.json() == {"token_needed": False, "session_open": False}


async def test_a_session_ends_after_half_a_day(autojump_clock):
    sessions = BrowserSessions(Secret("t"))
    session_id = sessions.open()

    await trio.sleep(12 * 3600 - 1)
    assert sessions.is_open(session_id)
    await trio.sleep(1)
    assert not sessions.is_open(session_id)


async def test_of_too_many_sessions_the_oldest_ends():
    sessions = BrowserSessions(Secret("t"))
    opened = [sessions.open() for _ in range(101)]

    assert [sessions.is_open(each) for each in opened] == [False] + [True] * 100


async def test_a_restart_ends_all_sessions():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        kept = cookie_of(await login(server)).value
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        server.client.cookies.set(SESSION_COOKIE, kept)
        response = await server.client.get("/read")

    assert response.status_code == 401
