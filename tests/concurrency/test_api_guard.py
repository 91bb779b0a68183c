"""The guard: it answers our own requests, and each refusal is a problem."""

from __future__ import annotations

import httpx2
import pytest

from greeks_trio.api.access.limits import Limits
from greeks_trio.api.access.origins import is_own
from tests.concurrency.api_server import BEARER, JSON, TOKEN, WITH_TOKEN, serving

SAFE = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
AT_ONCE = Limits(wrong_token_s=0)


def assert_problem(response, status):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert response.headers.items() >= SAFE.items()
    assert not [name for name in response.headers if name.startswith("access-control")]


def as_response(answer):
    status, headers, body = answer
    decoded = {name.decode(): value.decode() for name, value in headers.items()}
    return httpx2.Response(status, headers=decoded, content=body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "{url}"}, 200),
        ({"Origin": "{url}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "ftp://127.0.0.1:{port}"}, 403),
        ({"Origin": "{url}.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
    ],
)
async def test_a_write_is_json_and_of_our_own_page(headers, status):
    async with serving() as server:
        filled = {
            name: value.format(url=server.url, port=server.port)
            for name, value in headers.items()
        }

        response = await server.client.post(
            "/write", content=b"{}", headers=JSON | filled
        )

    assert response.status_code == status
    assert bool(server.routes.bodies) is (status == 200)
    if status != 200:
        assert_problem(response, status)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_also_a_write_without_a_body_is_refused_to_other_sites(method):
    async with serving() as server:
        foreign = {"Origin": "https://evil.example"}
        response = await server.client.request(method, "/write", headers=foreign)

    assert_problem(response, 403)
    assert server.routes.bodies == []


@pytest.mark.parametrize(
    ("method", "content", "status"),
    [
        ("POST", b"", 415),
        ("PUT", b"", 415),
        ("DELETE", b"", 200),
        ("DELETE", b"1", 415),
    ],
)
async def test_only_a_delete_may_come_without_a_content_type(method, content, status):
    async with serving() as server:
        response = await server.client.request(method, "/write", content=content)

    assert response.status_code == status


FOLLOWED_LINK = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-User": "?1",
}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        (FOLLOWED_LINK, 200),
        (FOLLOWED_LINK | {"Sec-Fetch-Dest": "iframe"}, 403),
        (FOLLOWED_LINK | {"Sec-Fetch-Dest": "embed"}, 403),
        (FOLLOWED_LINK | {"Sec-Fetch-User": "?0"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_a_read_of_another_site_gets_nothing_that_its_page_could_see(
    headers, status
):
    async with serving() as server:
        response = await server.client.get("/read", headers=headers)

    assert response.status_code == status
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_page_elsewhere_gets_no_preflight_through():
    async with serving() as server:
        response = await server.client.options(
            "/write",
            headers={
                "Origin": "https://evil.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )

    assert_problem(response, 405)


async def test_a_rebound_name_of_a_page_neither_reads_nor_writes():
    """The page's name resolves to this machine: its Origin agrees with its Host."""
    async with serving() as server:
        rebound = {
            "Host": f"evil.example:{server.port}",
            "Origin": f"http://evil.example:{server.port}",
            "Sec-Fetch-Site": "same-origin",
        }
        read = await server.client.get("/read", headers=rebound)
        write = await server.client.post(
            "/write", content=b"{}", headers=JSON | rebound
        )

    assert_problem(read, 421)
    assert_problem(write, 421)
    assert server.routes.bodies == []


@pytest.mark.parametrize(
    "host",
    [
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:80:80",
        "localhost/",
        "localhost.",
        "127.0.0.1.nip.io",
        "[::1",
        "::1",
        "0.0.0.0",  # noqa: S104
        "127.1",
        "2130706433",
        "xn--lcalhost-54a",
    ],
)
async def test_a_name_that_looks_like_loopback_is_refused(host):
    async with serving() as server:
        response = await server.client.get("/read", headers={"Host": host})

    assert_problem(response, 421)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /read HTTP/1.1\r\n\r\n", 400),
        (b"GET /read HTTP/1.0\r\n\r\n", 421),
        (b"GET /read HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /read HTTP/1.1\r\nHost: evil.example\r\nhost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/read HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /read HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /read HTTP/1.1\r\nHost: localhost\r\nBad header\r\n\r\n", 400),
        (b"GET /read HTTP/1.1\r\nHost: localhost\r\n A: folded\r\n\r\n", 421),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
            b"Content-Length: 2\r\n\r\n",
            400,
        ),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Type: application/json\r\nContent-Length: 0\r\n\r\n",
            400,
        ),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
            b"Origin: http://evil\r\nContent-Length: 0\r\n\r\n",
            400,
        ),
    ],
)
async def test_requests_that_make_no_sense_get_a_problem_too(request_bytes, status):
    close = request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    async with serving() as server:
        response = as_response(await server.ask(close))
        alive = await server.client.get("/read")

    assert_problem(response, status)
    assert server.routes.bodies == []
    assert alive.status_code == 200


@pytest.mark.parametrize(
    "wish",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAA\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
async def test_another_protocol_is_not_to_be_had(wish):
    """RFC 9110 allows to ignore the upgrade, so the usual checks apply."""
    async with serving() as server:
        fine = await server.ask(
            b"GET /read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            + wish
            + b"\r\n"
        )
        foreign = await server.ask(
            b"GET /read HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n"
            + wish
            + b"\r\n"
        )

    assert fine[0] == 200
    assert foreign[0] == 421


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/read", "GET, HEAD"), ("/write", "POST, PUT, DELETE"), ("/openapi.json", "GET")],
)
async def test_a_method_that_a_path_has_not_is_refused_with_those_it_has(path, allowed):
    async with serving() as server:
        for method in ("PATCH", "TRACE", "OPTIONS", "INVENTED"):
            response = await server.client.request(method, path)

            assert_problem(response, 405)
            assert response.headers["allow"].startswith(allowed)


@pytest.mark.parametrize("query", ["a=1&a=2", "a=1&b=&%61=1", "a=&a="])
async def test_a_parameter_that_comes_twice_is_refused_rather_than_half_ignored(query):
    async with serving() as server:
        refused = await server.client.get(f"/read?{query}")
        fine = await server.client.get("/read?a=1&b=1&c=a%26a")

    assert_problem(refused, 400)
    assert fine.status_code == 200


async def test_an_unknown_path_is_a_problem_and_a_slash_makes_it_another():
    async with serving() as server:
        assert_problem(await server.client.get("/nothing"), 404)
        assert_problem(await server.client.post("/nothing", content=b"x"), 404)
        assert_problem(await server.client.get("/read/"), 404)
        # As bytes: a client would take it for the name of a host.
        answer = await server.ask(
            b"GET //read HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        assert_problem(as_response(answer), 404)


async def test_head_is_get_without_the_body():
    async with serving() as server:
        get = await server.client.get("/read")
        head = await server.client.head("/read")
        endless = await server.client.head("/endless")
        after = await server.client.get("/read")

    assert head.status_code == endless.status_code == after.status_code == 200
    assert head.content == endless.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert server.routes.cancelled.is_set()


async def test_an_answer_may_have_its_own_policy():
    async with serving() as server:
        headers = (await server.client.get("/page")).headers

    assert headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert headers["x-frame-options"] == "DENY"


async def test_a_bug_is_a_problem_without_details_and_logged_once(caplog):
    async with serving() as server:
        response = await server.client.get("/bug")
        alive = await server.client.get("/read")

    assert_problem(response, 500)
    assert "s3cret" not in response.text
    assert alive.status_code == 200
    assert caplog.text.count("Traceback") == 1


async def test_a_bug_in_the_middle_of_an_answer_ends_it_short(caplog):
    async with serving() as server:
        with pytest.raises(httpx2.RemoteProtocolError):
            await server.client.get("/bug-midway")
        alive = await server.client.get("/read")

    assert alive.status_code == 200
    assert caplog.text.count('KeyError: "s3cret"'.replace('"', "'")) == 1


async def test_an_answer_that_is_no_http_is_an_error_of_that_request_only(caplog):
    async with serving() as server:
        broken = await server.client.get("/odd-header")
        alive = await server.client.get("/read")

    assert (broken.status_code, alive.status_code) == (500, 200)
    assert caplog.text.count("Traceback") == 1


@pytest.mark.parametrize("credentials", [{}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize("path", ["/read", "/openapi.json", "/nothing", "/bug"])
async def test_without_the_token_nothing_is_to_be_learnt(path, credentials):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await server.client.get(path, headers=credentials)

    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_the_token_in_the_address_is_not_accepted():
    """Addresses end up in histories and in the logs of proxies."""
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await server.client.get(f"/read?token={TOKEN}")

    assert_problem(response, 401)


async def test_two_tokens_are_refused_even_if_one_is_right():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        headers = [("Authorization", "Bearer x"), *BEARER.items()]
        response = await server.client.get("/read", headers=headers)

    assert_problem(response, 400)


async def test_on_loopback_the_token_does_not_make_a_foreign_host_fine():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        response = await server.client.get(
            "/read", headers=BEARER | {"Host": "evil.example"}
        )

    assert_problem(response, 421)


async def test_beyond_loopback_a_write_from_another_site_is_refused_all_the_same():
    async with serving(AT_ONCE, host="0.0.0.0", **WITH_TOKEN) as server:  # noqa: S104
        headers = BEARER | JSON | {"Host": "greeks.example"}
        own = {"Origin": "https://greeks.example"}
        foreign = {"Origin": "https://evil.example"}
        url = f"http://127.0.0.1:{server.port}/write"
        fine = await server.client.post(url, content=b"{}", headers=headers | own)
        refused = await server.client.post(
            url, content=b"{}", headers=headers | foreign
        )

    assert fine.status_code == 200
    assert_problem(refused, 403)


@pytest.mark.parametrize("origin", [b"http://", b"https://[", b"", b"http", b"\xff"])
def test_an_origin_without_a_name_is_not_ours(origin):
    assert not is_own(origin, {})
    assert not is_own(origin, {b"host": b""})
