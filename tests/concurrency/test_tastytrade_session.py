from __future__ import annotations

import json

import httpx2
import pytest
import trio

from greeks_trio.brokers.tastytrade.instrument_pages import (
    ASK_AGAIN_S,
    MAX_AT_ONCE,
    REFRESH_S,
    InstrumentPages,
)
from greeks_trio.brokers.tastytrade.login_check import check_login
from greeks_trio.brokers.tastytrade.rest import LOGIN_DISTANCE_S, REQUEST_LIMIT_S
from greeks_trio.brokers.tastytrade.session import open_session
from greeks_trio.config.settings import Secret
from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    DXLINK_URL,
    FakeApi,
    make_config,
    make_item,
)
from tests.factories import SPY_CALL, SPY_PUT

POSITIONS = f"/accounts/{ACCOUNT}/positions"
LOGIN, QUOTE_TOKEN = "/oauth/token", "/api-quote-tokens"


async def check(config, api):
    return await check_login(
        config, open_session=lambda config: open_session(config, api)
    )


@pytest.fixture
def api():
    return FakeApi(make_item(SPY_CALL))


class UnreachableApi(FakeApi):
    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        raise httpx2.ConnectError("connection refused")


async def test_the_portfolio_is_that_of_the_open_accounts(api):
    api.positions["5WT00002"] = [make_item(SPY_PUT), make_item("AAPL", kind="Equity")]
    api.closed_accounts = ["5WT00003"]

    async with open_session(make_config(), api) as session:
        portfolio = await session.read_positions()

    assert portfolio.account_ids == (ACCOUNT, "5WT00002")
    assert [each.contract_key for each in portfolio.positions] == [
        SPY_CALL,
        SPY_PUT,
        "AAPL",
    ]


async def test_only_configured_accounts_are_read(api):
    api.positions["5WT00002"] = []

    async with open_session(make_config(), api) as session:
        portfolio = await session.read_positions(["5WT00002", "5WT00009"])

    assert portfolio.account_ids == ("5WT00002",)
    assert POSITIONS not in api.paths()
    assert portfolio.problems == ("account 5WT00009 is not among the open accounts",)


async def test_a_malformed_position_or_account_does_not_hide_the_others(api):
    api.positions[ACCOUNT] = [make_item(SPY_CALL, "many"), 7, make_item(SPY_PUT)]
    accounts = (
        b'{"data":{"items":[{},{"account":{"account-number":"\xff"}},'
        b'{"account":{"account-number":"5WT00001"}}]}}'
    )
    api.answers["/customers/me/accounts"] = (200, {}, accounts)

    async with open_session(make_config(), api) as session:
        portfolio = await session.read_positions()

    assert [(each.contract_key, each.kind) for each in portfolio.positions] == [
        (SPY_CALL, "unknown"),
        ("tastytrade:unnamed 1 of 5WT00001", "unknown"),
        (SPY_PUT, "option"),
    ]
    assert portfolio.malformed == 2


@pytest.mark.parametrize(
    ("level", "availability"),
    [("api", "realtime"), ("demo", "delayed"), ("gold", "unknown"), (None, "unknown")],
)
async def test_the_level_of_the_quote_token_says_how_fresh_data_is(
    api, level, availability
):
    api.level = level

    async with open_session(make_config(), api) as session:
        token = await session.quote_token()

    assert (token.url, token.token) == (DXLINK_URL, Secret("quote-token-1"))
    assert token.availability == availability
    assert "quote-token-1" not in repr(token)


async def test_a_quote_token_is_not_sent_over_an_open_line(api):
    answer = b'{"data":{"token":"t","dxlink-url":"ws://quotes.example/"}}'
    api.answers[QUOTE_TOKEN] = (200, {}, answer)

    async with open_session(make_config(), api) as session:
        with pytest.raises(FeedInterrupted, match="not encrypted"):
            await session.quote_token()


async def test_credentials_are_not_sent_over_an_open_line(api):
    with pytest.raises(FeedInterrupted, match="not encrypted"):
        await check(make_config(api_url="http://api.example"), api)

    assert api.requests == []


@pytest.mark.parametrize(
    ("api_url", "expected", "versioned"),
    [
        ("https://api.tastyworks.com", "https://api.tastyworks.com", True),
        ("https://api.cert.tastyworks.com", "https://api.cert.tastyworks.com", False),
        ("http://127.0.0.1:7777/base/", "http://127.0.0.1:7777/base", True),
    ],
)
async def test_requests_go_to_the_configured_address(api, api_url, expected, versioned):
    async with open_session(make_config(api_url=api_url), api):
        pass

    [(method, url, headers)] = api.requests
    assert (method, url) == ("POST", f"{expected}/oauth/token")
    assert headers["host"] == httpx2.URL(api_url).netloc.decode()
    assert ("accept-version" in headers) == versioned
    assert "/" in headers["user-agent"]


async def test_the_access_token_is_renewed_before_it_expires(autojump_clock, api):
    api.expires_in = 30  # less than the minute for which it has to be good

    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        await session.quote_token()
        token = await session.access_token()

    assert (api.logins, token) == (2, "access-2")


@pytest.mark.parametrize("expires_in", [0, 900])
async def test_no_server_makes_us_log_in_all_the_time(autojump_clock, api, expires_in):
    api.expires_in = expires_in
    api.answers[QUOTE_TOKEN] = (401, {}, b"")

    async with open_session(make_config(), api) as session:
        for _ in range(60):
            with pytest.raises(FeedInterrupted, match="401"):
                await session.quote_token()
            await trio.sleep(1)

    assert api.logins <= 60 / LOGIN_DISTANCE_S
    assert len(api.paths()) <= 60 + 2 * api.logins


async def test_a_login_that_fails_is_not_tried_again_at_once(autojump_clock, api):
    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        api.answers[LOGIN] = (503, {"Retry-After": "17"}, b"")
        api.answer_once[QUOTE_TOKEN] = (401, {}, b"")
        for _ in range(5):
            with pytest.raises(FeedInterrupted, match="503") as caught:
                await session.quote_token()
            assert (caught.value.retry_after, caught.value.http_status) == (17.0, 503)
        tried = api.paths().count(LOGIN)
        api.answers.clear()
        await trio.sleep(LOGIN_DISTANCE_S)
        await session.quote_token()

    assert (tried, api.logins) == (2, 2)


async def test_a_token_that_is_good_is_used_again(api):
    async with open_session(make_config(), api) as session:
        await session.read_positions()
        await session.access_token()

    assert api.logins == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":"invalid_grant","error_description":"Grant revoked"}'),
        (401, b'{"error_code":"invalid_grant","error_description":"Grant revoked"}'),
        (401, b'{"error":{"code":"invalid_client","message":"Grant revoked"}}'),
        (403, b'{"error":{"code":"Unauthorized_Client","message":"Grant revoked"}}'),
        (400, b'{"code":"invalid_grant","error_description":"Grant revoked"}'),
    ],
)
async def test_a_refused_login_is_for_the_operator(api, status, body):
    api.answers[LOGIN] = (status, {}, body)

    with pytest.raises(CredentialsRejected, match="TT_REFRESH: Grant revoked") as found:
        await check(make_config(), api)

    assert not found.value.worked_before


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            400,
            b'{"error_code":"invalid_request","error_description":"Not a customer"}',
            "400: Not a customer (invalid_request)",
        ),
        (400, b'{"error":"temporarily_unavailable"}', "400: temporarily_unavailable"),
        (400, b'{"error":"server_error"}', "400: server_error"),
        (401, b'{"error":{"code":"internal_server_error"}}', "401: internal_server"),
        (401, b'{"error":{"code":"x","message":"Grant revoked"}}', "Grant revoked"),
        (401, b'{"error":"slow_down","error_code":"invalid_grant"}', "401: slow_down"),
        (400, b'{"error_description":"invalid_grant"}', "400: invalid_grant"),
        (400, b'{"error":["invalid_grant"]}', "400: Bad Request"),
        (401, b"{}", "401: Unauthorized"),
        (503, b'{"error":"invalid_grant"}', "503: invalid_grant"),
        (429, b'{"error":"invalid_client"}', "429: invalid_client"),
    ],
)
async def test_any_other_refusal_of_the_login_may_pass(api, status, body, words):
    api.answers[LOGIN] = (status, {}, body)

    with pytest.raises(FeedInterrupted) as found:
        await check(make_config(), api)

    assert "answered to the login" in str(found.value)
    assert words in str(found.value)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_login_refused_by_something_in_front_of_it_may_pass(api, status):
    api.answers[LOGIN] = (status, {}, b"<html><h1>Authorization Required</h1></html>")

    with pytest.raises(FeedInterrupted, match=str(status)):
        await check(make_config(), api)


async def test_a_token_that_expired_before_its_time_is_renewed_at_once(
    autojump_clock, api
):
    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        api.answer_once[POSITIONS] = (401, {}, b"")
        portfolio = await session.read_positions()

    assert len(portfolio.positions) == 1
    assert api.paths().count(POSITIONS) == api.logins == 2


async def test_a_server_that_refuses_every_token_is_asked_twice(autojump_clock, api):
    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        api.answers[POSITIONS] = (401, {}, b"")
        with pytest.raises(FeedInterrupted, match="401"):
            await session.read_positions()

    assert (api.logins, api.paths().count(POSITIONS)) == (2, 2)


async def test_missing_credentials_are_for_the_operator(api):
    with pytest.raises(CredentialsRejected, match="TT_SECRET or TT_REFRESH is not set"):
        await check(make_config(refresh=Secret("")), api)


@pytest.mark.parametrize("bare", ["NaN", "Infinity", "-Infinity"])
async def test_a_number_that_json_lacks_costs_only_its_position(api, bare):
    good = json.dumps(make_item(SPY_CALL))
    odd = json.dumps(make_item(SPY_PUT, "here")).replace('"here"', bare)
    body = f'{{"data":{{"items":[{good},{odd}]}}}}'.encode()
    api.answers[POSITIONS] = (200, {}, body)

    async with open_session(make_config(), api) as session:
        portfolio = await session.read_positions()

    assert [(each.contract_key, each.kind) for each in portfolio.positions] == [
        (SPY_CALL, "option"),
        (SPY_PUT, "unknown"),
    ]


@pytest.mark.parametrize("path", [LOGIN, POSITIONS, QUOTE_TOKEN])
@pytest.mark.parametrize("status", [406, 429, 500, 502, 503])
async def test_a_refusal_that_may_pass_says_when(api, path, status):
    api.answers[path] = (status, {"Retry-After": "17"}, b"<html>no</html>")

    with pytest.raises(FeedInterrupted, match=str(status)) as caught:
        await check(make_config(), api)

    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", 0.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        ("-1", None),
        ("Fri, 20 Nov 2026 16:00:00 GMT", None),
        ("\u00b2", None),
    ],
)
async def test_no_server_keeps_us_away_for_more_than_an_hour(api, header, expected):
    headers = [(b"Retry-After", header.encode())]
    api.answers[LOGIN] = (429, headers, b"")

    with pytest.raises(FeedInterrupted, match="429") as caught:
        await check(make_config(), api)

    assert caught.value.retry_after == expected


@pytest.mark.parametrize("path", [LOGIN, POSITIONS, QUOTE_TOKEN])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"<html>", b'{"data":7}', b"\xff"),
        b'{"data":{"token":"\xff","items":"\xff"}}',
    ],
)
async def test_an_answer_that_makes_no_sense_is_an_interruption(api, path, body):
    api.answers[path] = (200, {}, body)

    with pytest.raises(FeedInterrupted, match="is not understood"):
        await check(make_config(), api)


async def test_a_refusal_after_the_login_is_an_interruption(api):
    api.answers[QUOTE_TOKEN] = (401, {}, b'{"error":{"message":"token expired"}}')

    with pytest.raises(FeedInterrupted, match="401: token expired"):
        await check(make_config(), api)


async def test_an_api_that_cannot_be_reached_is_an_interruption():
    with pytest.raises(FeedInterrupted, match="connection refused"):
        await check(make_config(), UnreachableApi())


async def test_an_answer_that_cannot_be_unpacked_is_an_interruption(api):
    class PackedApi(FakeApi):
        async def handle_async_request(self, request):
            headers = {"Content-Encoding": "gzip"}
            stream = httpx2.ByteStream(b"no gzip")
            return httpx2.Response(200, headers=headers, stream=stream)

    with pytest.raises(FeedInterrupted, match="an answer that is no gzip"):
        await check(make_config(), PackedApi())


async def test_somebody_without_market_data_is_told_in_the_servers_words(api):
    answer = b'{"error":{"code":"quote_streamer.customer_not_found_error"}}'
    api.answers[QUOTE_TOKEN] = (404, {}, answer)

    with pytest.raises(FeedInterrupted, match="404: quote_streamer"):
        await check(make_config(), api)


@pytest.mark.parametrize(("status", "body"), [(500, b""), (400, b""), (200, b"odd")])
async def test_the_trouble_of_one_account_does_not_hide_the_others(api, status, body):
    api.positions["5WT00002"] = [make_item(SPY_PUT)]
    api.answers[POSITIONS] = (status, {}, body)

    async with open_session(make_config(), api) as session:
        portfolio = await session.read_positions()

        again = await session.read_positions(previous=portfolio)

    assert portfolio.account_ids == again.account_ids == (ACCOUNT, "5WT00002")
    assert again.incomplete == (ACCOUNT,)


async def test_the_trouble_of_every_account_is_the_servers(api):
    api.positions["5WT00002"] = []
    for account in api.positions:
        api.answers[f"/accounts/{account}/positions"] = (500, {}, b"")

    async with open_session(make_config(), api) as session:
        with pytest.raises(FeedInterrupted, match="500"):
            await session.read_positions()


async def test_the_check_tells_of_accounts_that_cannot_be_read(api):
    api.positions["5WT00002"] = []
    api.answers["/accounts/5WT00002/positions"] = (403, {}, b"")
    api.authority_level = "trade-only"

    assert await check(make_config(), api) == (
        "logged in, 2 accounts, 1 option position, 1 account not readable; account "
        "5WT00002 cannot be read: Tastytrade answered 403: Forbidden (authority level "
        "trade-only)"
    )


async def test_a_login_that_is_not_answered_is_bounded(autojump_clock, api):
    api.silent = True

    with pytest.raises(FeedInterrupted, match="does not answer"):
        await check(make_config(), api)

    assert trio.current_time() == REQUEST_LIMIT_S


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"{}"), (500, b""), (403, b""), (200, b'{"data":7}')]
)
async def test_an_instrument_that_cannot_be_read_does_not_hide_the_others(
    api, status, body
):
    path = "/instruments/future-options/.%2FGCQ5%20OGN5%20%20250625P2095"
    api.answers[path] = (status, {}, body)
    api.instruments = {"CLJ6": "/CLJ26:XNYM"}

    async with open_session(make_config(), api) as session:
        found = await InstrumentPages().get(
            session, ["./GCQ5 OGN5  250625P2095", "/CLJ6"]
        )

    assert found.pages["/CLJ6"].streamer_symbol == "/CLJ26:XNYM"
    assert list(found.refusals) == ["./GCQ5 OGN5  250625P2095"]


@pytest.mark.parametrize("status", [429, 503])
async def test_instruments_are_not_asked_for_while_the_server_is_in_trouble(
    api, status
):
    symbols = [f"/ES{code}{year}" for code in "HMUZ" for year in range(10)]
    for symbol in symbols:
        api.answers[f"/instruments/futures{symbol}"] = (status, {}, b"")
    pages = InstrumentPages()

    async with open_session(make_config(), api) as session:
        found = await pages.get(session, symbols)
        again = await pages.get(session, symbols)

    assert found.pages == again.pages == {}
    assert len(api.paths()) <= 1 + 2 * MAX_AT_ONCE


async def test_no_instrument_is_asked_for_before_the_server_wants_it(
    autojump_clock, api
):
    path = "/instruments/futures/ESZ6"
    api.answer_once[path] = (429, {"Retry-After": "100"}, b"")
    api.instruments = {"ESZ6": "/ESZ26:XCME"}
    pages = InstrumentPages()

    async with open_session(make_config(), api) as session:
        await pages.get(session, ["/ESZ6"])
        await trio.sleep(99)
        held_back = await pages.get(session, ["/ESZ6"])
        await trio.sleep(1)
        found = await pages.get(session, ["/ESZ6"])

    assert (held_back.pages, list(found.pages)) == ({}, ["/ESZ6"])
    assert api.paths().count(path) == 2


async def test_instruments_are_asked_for_side_by_side_and_seldom(autojump_clock, api):
    """So a book of futures options does not delay the first connection."""

    api.delay_s = 1.0
    symbols = [f"/ES{code}{year}" for code in "HMUZ" for year in range(6)]
    api.instruments = {each[1:]: "/X:XCME" for each in symbols[1:]}
    pages = InstrumentPages()

    async with open_session(make_config(), api) as session:
        began = trio.current_time()
        first = await pages.get(session, symbols)
        took_s = trio.current_time() - began
        asked = len(api.requests)
        await pages.get(session, symbols)
        again = len(api.requests)
        await trio.sleep(ASK_AGAIN_S)
        await pages.get(session, symbols)
        refused_again = len(api.requests)
        await trio.sleep(REFRESH_S)
        await pages.get(session, symbols)

    assert took_s == len(symbols) / MAX_AT_ONCE
    assert api.most_under_way == MAX_AT_ONCE
    assert set(first.pages) == set(symbols[1:])
    assert first.refusals == {symbols[0]: "Tastytrade answered 404: not found"}
    assert again == asked
    assert refused_again == asked + 1
    assert api.paths().count(f"/instruments/futures{symbols[5]}") == 2


async def test_a_login_that_is_refused_ends_the_requests_for_instruments(
    autojump_clock, api
):
    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        api.expires_in = 0
        api.answers["/instruments/futures/ESZ6"] = (401, {}, b"")
        api.answers[LOGIN] = (400, {}, b'{"error":"invalid_grant"}')
        with pytest.raises(CredentialsRejected):
            await InstrumentPages().get(session, ["/ESZ6", "/ESZ7"])


async def test_requests_side_by_side_need_one_login(autojump_clock, api):
    api.expires_in = 30
    api.instruments = {"ESZ6": "/ESZ26:XCME", "ESH7": "/ESH27:XCME"}
    async with open_session(make_config(), api) as session:
        await trio.sleep(LOGIN_DISTANCE_S)
        found = await InstrumentPages().get(session, ["/ESZ6", "/ESH7"])

    assert (len(found.pages), api.logins) == (2, 2)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "logged in, 1 account, 0 option positions"),
        ([make_item(SPY_CALL)], "logged in, 1 account, 1 option position"),
        (
            [make_item(SPY_CALL), make_item(SPY_PUT), make_item("F", kind="Equity"), 7],
            "logged in, 1 account, 2 option positions, 1 position not understood; "
            "position without a symbol of account 5WT00001 is not understood: it cannot "
            "be decoded: Expected `object`, got `int`",
        ),
    ],
)
async def test_the_check_answers_in_one_sentence(items, sentence):
    assert await check(make_config(), FakeApi(*items)) == sentence


async def test_no_secret_is_logged(api, caplog):
    caplog.set_level("DEBUG")

    await check(make_config(), api)

    for secret in ("s3cr3t", "r3fr3sh", "access-1", "quote-token-1"):
        assert secret not in caplog.text
