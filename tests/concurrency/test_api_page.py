"""The page: its files, their headers, and the login form in front of it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from greeks_trio.api.access.browser_sessions import SESSION_PATH
from greeks_trio.api.access.limits import Limits
from greeks_trio.api.page_files import DIRECTORY, PageFiles
from tests.concurrency.api_server import BEARER, JSON, TOKEN, WITH_TOKEN, serving

AT_ONCE = Limits(wrong_token_s=0)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
FORM_FILES = ("login.html", "login.css", "login.js", "icon.svg")
PAGES = ("/", "/docs")
PLAIN = {"Accept-Encoding": "identity"}


def shipped_files():
    """Return the names of the files that a browser can load."""
    return sorted(
        path.relative_to(DIRECTORY).as_posix()
        for path in DIRECTORY.rglob("*")
        if path.suffix in MEDIA_TYPES and "node_modules" not in path.parts
    )


def content_of(name):
    return (DIRECTORY / name).read_bytes()


async def test_every_file_has_its_content_its_type_and_the_headers_of_the_page():
    async with serving() as server:
        for name in shipped_files():
            answer = await server.client.get(f"/page/{name}", headers=PLAIN)

            assert answer.status_code == 200, name
            assert answer.content == content_of(name)
            assert answer.headers["content-type"] == MEDIA_TYPES[Path(name).suffix]
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["vary"] == "Accept-Encoding"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_policy_allows_our_own_files_and_nothing_inside_of_the_html():
    async with serving() as server:
        answer = await server.client.get("/")

    parts = answer.headers["content-security-policy"].split("; ")
    assert dict(part.split(" ", 1) for part in parts) == POLICY


async def test_each_page_has_an_address():
    async with serving() as server:
        page, docs = [await server.client.get(path) for path in PAGES]

    assert page.content == content_of("index.html")
    assert docs.content == content_of("docs.html")


async def test_a_client_that_takes_gzip_gets_it():
    async with serving() as server:
        plain = await server.client.get("/page/login.css", headers=PLAIN)
        packed = await server.client.get(
            "/page/login.css", headers={"Accept-Encoding": "br, GZip;q=0.5"}
        )
        refused = await server.client.get(
            "/page/login.css", headers={"Accept-Encoding": "br, gzip;q=0.0"}
        )

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # the client unpacks it
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert refused.content == plain.content


async def test_a_file_that_is_compressed_already_stays_as_it_is():
    async with serving() as server:
        answer = await server.client.get("/page/vendor/inter.woff2")

    assert "content-encoding" not in answer.headers


async def test_a_browser_that_has_the_file_gets_no_content():
    async with serving() as server:
        first = await server.client.get("/")
        tag = first.headers["etag"]
        answers = [
            await server.client.get("/", headers={"If-None-Match": each})
            for each in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*", '"other"')
        ]
        form = await server.client.get("/page/login.html")

    assert [each.status_code for each in answers] == [304, 304, 304, 304, 200]
    assert answers[0].content == b""
    assert answers[0].headers["etag"] == tag
    assert answers[0].headers["cache-control"] == "no-cache"
    assert form.headers["etag"] != tag


async def test_head_has_the_headers_of_get():
    async with serving() as server:
        for path in (*PAGES, "/page/login.js"):
            full = await server.client.get(path)
            head = await server.client.head(path)

            assert head.status_code == 200
            assert head.content == b""
            assert head.headers["content-length"] == full.headers["content-length"]
            assert head.headers["etag"] == full.headers["etag"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_page_is_only_read(method):
    async with serving() as server:
        answer = await server.client.request(method, "/", content=b"{}", headers=JSON)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.headers["content-type"] == "application/problem+json"


OUTSIDE = (
    "/page/",
    "/page/missing.js",
    "/page/vendor",
    "/page/vendor/",
    "/page/vendor/package.json",
    "/page/vendor/build.mjs",
    "/page/vendor/node_modules/preact/dist/preact.js",
    "/page/LOGIN.html.",
    "/page//login.html",
    "/page/./login.html",
    "/page/css/../login.html",
    "/page/../page/login.html",
    "/page/../version.py",
    "/page/%2e%2e/version.py",
    "/page/..%2fversion.py",
    "/page/..%5cversion.py",
    "/page/%2fetc/passwd",
    "/page//etc/passwd",
    "/page/login.html%00",
    "/page/login.html%00.js",
    "/page/.hidden.js",
    "/page/%c0%ae%c0%ae/version.py",
    "/docs/",
    "/index.html",
)


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_else_is_a_file_of_the_page(path):
    async with serving() as server:
        # As bytes: a client would tidy the path up.
        status, headers, _ = await server.ask(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )

    assert status == 404
    assert headers[b"content-type"] == b"application/problem+json"


@pytest.mark.parametrize(
    "name",
    [
        "../above.js",
        "a/../../above.js",
        "a/b/c/deep.js",
        ".hidden.js",
        "a/.hidden.js",
        "a/node_modules/library.js",
        "notes.md",
    ],
)
async def test_other_files_are_no_part_of_the_page(name, tmp_path):
    page = tmp_path / "page"
    (page / "a").mkdir(parents=True)
    path = page / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("no part of the page")

    assert await PageFiles(page).find(name) is None


async def test_a_file_is_read_again_only_when_it_has_changed(tmp_path):
    path = tmp_path / "app.js"
    path.write_text("old")
    files = PageFiles(tmp_path)

    first = await files.find("app.js")
    again = await files.find("app.js")
    path.write_text("new")
    os.utime(path, ns=(1, 1))
    changed = await files.find("app.js")

    assert again is first
    assert (first.content, changed.content) == (b"old", b"new")
    assert first.tag != changed.tag


async def test_what_is_compressed_is_the_content(tmp_path):
    (tmp_path / "long.js").write_text("x" * 1000)
    (tmp_path / "short.js").write_text("x")
    files = PageFiles(tmp_path)

    assert gzip.decompress((await files.find("long.js")).compressed) == b"x" * 1000
    assert (await files.find("short.js")).compressed is None


@pytest.mark.parametrize("path", PAGES)
async def test_without_credentials_a_page_is_the_login_form(path):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        answer = await server.client.get(path)
        head = await server.client.head(path)

    assert answer.status_code == head.status_code == 200
    assert answer.content == content_of("login.html")
    assert answer.headers["cache-control"] == "no-cache"


async def test_only_the_files_of_the_form_are_open():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        statuses = {
            name: (await server.client.get(f"/page/{name}")).status_code
            for name in [*shipped_files(), "missing.js"]
        }

    assert {name for name, each in statuses.items() if each == 200} == set(FORM_FILES)
    assert {each for name, each in statuses.items() if name not in FORM_FILES} == {401}


async def test_a_session_opens_the_pages_and_their_files():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        form = await server.client.get("/")
        await server.client.post(SESSION_PATH, json={"token": TOKEN})
        known = {"If-None-Match": form.headers["etag"]}
        page = await server.client.get("/", headers=known)
        font = await server.client.get("/page/vendor/inter.woff2")
        await server.client.delete(SESSION_PATH)
        known = {"If-None-Match": page.headers["etag"]}
        after = await server.client.get("/", headers=known)

    assert page.status_code == font.status_code == 200
    assert page.content == content_of("index.html")
    assert after.status_code == 200
    assert after.content == content_of("login.html")


async def test_the_token_opens_the_pages_and_a_wrong_one_gets_no_form():
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        page = await server.client.get("/", headers=BEARER)
        wrong = await server.client.get("/", headers={"Authorization": "Bearer wrong"})

    assert page.content == content_of("index.html")
    assert wrong.status_code == 401
    assert wrong.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_the_form_answers_reads_only(method):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        answer = await server.client.request(method, "/", content=b"{}", headers=JSON)

    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/page/login.html", "/page/login.js"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_other_names_and_other_sites_get_neither_page_nor_form(
    path, headers, status
):
    async with serving(AT_ONCE, **WITH_TOKEN) as server:
        answer = await server.client.get(path, headers=headers)

    assert answer.status_code == status


async def test_a_link_of_another_site_leads_to_the_page():
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-User": "?1",
    }
    async with serving() as server:
        answer = await server.client.get("/", headers=link)

    assert answer.status_code == 200
