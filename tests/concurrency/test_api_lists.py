"""Lists over HTTP, answered by a fake timeline: parameters, pages, cursors, errors."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from itertools import product

import httpx2
import msgspec
import pytest

from greeks_trio.api.lists.resources import SNAPSHOTS
from greeks_trio.errors import (
    ReadsBusy,
    ReadTooLong,
    StoreRejected,
    StoreUnavailable,
)
from greeks_trio.postgres.reads.pages import Page
from tests.concurrency.fake_timeline import AT, EVERY_LIST, TICKS, FakeTimeline
from tests.timeline import listing_of, serving


@pytest.fixture
def timeline():
    return FakeTimeline()


@pytest.mark.parametrize("path", EVERY_LIST)
async def test_every_list_is_a_page_of_items(timeline, path):
    async with serving(timeline) as client:
        answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"items": [{"id": 1}], "next_cursor": None}
    assert timeline.asked == [(EVERY_LIST[path], None, 500)]


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("broker=ibkr", {"broker": "ibkr"}),
        ("account_id=U1", {"account_id": "U1"}),
        (
            "contract_key=SPY%20%20%20261218C00600000",
            {"contract_key": "SPY   261218C00600000"},
        ),
        ("underlying=BRK/B", {"underlying": "BRK/B"}),
        ("option_type=put", {"option_type": "put"}),
        (
            "expiration_from=2026-12-18&expiration_to=2026-12-18",
            {
                "expiration_from": date(2026, 12, 18),
                "expiration_to": date(2026, 12, 18),
            },
        ),
        ("start=2026-11-20T15:30:00Z", {"start": AT}),
        ("end=2026-11-20T10:30:00-05:00", {"end": AT}),
        # A plus sign that is not percent-encoded arrives as a space.
        ("start=2026-11-20T16:30:00+01:00", {"start": AT}),
    ],
)
async def test_a_parameter_is_a_filter(timeline, query, values):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?{query}")

    assert answer.status_code == 200
    assert timeline.asked == [(listing_of(SNAPSHOTS, **values), None, 500)]


LISTS_OF_KEYS = [
    path for path in EVERY_LIST if "portfolio" not in path and "totals" not in path
]
# The totals take the underlying as an argument of their function.
LISTS_OF_UNDERLYINGS = [
    path
    for path in LISTS_OF_KEYS
    if path not in ("/v1/gaps", "/v1/outages", "/v1/trades", "/v1/position-tags")
] + ["/v1/portfolio"]
SPELLINGS = [
    ("IWM261218P00210000", "IWM   261218P00210000"),
    (" iwm  261218 p 00210000", "IWM   261218P00210000"),
    (".IWM261218P210", "IWM   261218P00210000"),
    ("./EW2270312C7050", "./EW2 270312C7050"),
    ("./esh7 ew2h7 270312c7050", "./EW2 270312C7050"),
    ("./CLM7 LOM7  270514P-5", "./LO  270514P-5"),
    ("/nqh27", "/NQH27"),
    ("bf.b", "BF/B"),
    ("shop:cad", "SHOP:CAD"),
    ("IBKR:81234", "ibkr:81234"),
    ("tastytrade:eth/usd", "tastytrade:ETH/USD"),
]


# One server answers for all texts of a list: it takes longer to start than to answer.
@pytest.mark.parametrize("path", LISTS_OF_KEYS)
async def test_a_contract_is_found_in_every_spelling(timeline, path):
    async with serving(timeline) as client:
        for form, (typed, stored) in product(("json", "csv", "ndjson"), SPELLINGS):
            timeline.asked.clear()
            query = {"format": form, "contract_key": typed}
            answer = await client.get(httpx2.URL(path).copy_merge_params(query))
            assert (answer.status_code, values_asked(timeline)) == (200, [stored]), (
                query
            )


@pytest.mark.parametrize("path", LISTS_OF_UNDERLYINGS)
async def test_an_underlying_is_found_in_every_spelling(timeline, path):
    spellings = {"bf.b": "BF/B", "BFB": "BF/B", "/esm27": "/ESM27", "spxw": "SPX"}
    async with serving(timeline) as client:
        for typed, stored in spellings.items():
            timeline.asked.clear()
            url = httpx2.URL(path).copy_merge_params({"underlying": typed})
            answer = await client.get(url)
            assert (answer.status_code, values_asked(timeline)) == (200, [stored]), url


@pytest.mark.parametrize("path", LISTS_OF_KEYS)
async def test_a_text_that_names_no_contract_is_refused_with_an_example(timeline, path):
    typed = ["IWM261218P0021000", "IWM 210 put", "/NQH7", "NQH27", "acme:7", "81234"]
    async with serving(timeline) as client:
        for form, text in product(("json", "csv"), typed):
            query = {"format": form, "contract_key": text}
            answer = await client.get(httpx2.URL(path).copy_merge_params(query))
            assert answer.status_code == 422, query
            [error] = answer.json()["errors"]
            assert error["where"] == "query.contract_key"
            assert repr(text) in error["reason"]
            assert "SPY261211C00663000" in error["reason"]
    assert timeline.asked == []


def values_asked(timeline):
    """Return the values of the only condition of the only list that was asked for."""
    [(listing, *_)] = timeline.asked
    [(_, values)] = listing.conditions
    return values


@pytest.mark.parametrize(
    "query",
    [
        "brokr=ibkr",
        "broker=schwab",
        "broker=",
        "account_id=",
        "account_id=%00",
        f"account_id={'x' * 65}",
        "option_type=C",
        "expiration_from=20261218",
        "expiration_from=2026-12-18T00:00:00Z",
        "expiration_from=2026-12-19&expiration_to=2026-12-18",
        "start=2026-11-20",
        "start=2026-11-20T15:30:00",
        "start=1763653800",
        "start=yesterday",
        "start=2026-11-21T00:00:00Z&end=2026-11-20T00:00:00Z",
        "underlying=/ESM7",
        "underlying=SPY261218C00600000",
        "limit=0",
        "limit=5001",
        "limit=all",
        "format=xml",
        "include=everything",
        "cursor=abc",
        "cursor=",
        "cursor=%C3%A4",
        "format=csv&cursor=abc",
    ],
)
async def test_an_unknown_parameter_or_value_is_refused(timeline, query):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert timeline.asked == []


async def test_the_reason_of_a_refusal_is_in_our_own_words(timeline):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?start=2026-11-20")

    assert answer.json()["errors"] == [
        {
            "where": "query.start",
            "reason": "has to be a time with its zone, such as 2026-11-20T15:30:00Z",
        }
    ]


async def test_the_payload_comes_only_when_wanted(timeline):
    async with serving(timeline) as client:
        await client.get(f"{TICKS}?include=payload&limit=7")

    listing = listing_of(SNAPSHOTS, include="payload")
    assert timeline.asked == [(listing, None, 7)]


async def test_a_cursor_leads_to_the_position_where_the_page_ended(timeline):
    position = ["2026-11-20T15:30:00.000000Z", "2026-11-20T15:30:00.000000Z", 9]
    timeline.page_answer = Page(items=b"[]", position=position)
    async with serving(timeline) as client:
        cursor = (await client.get(f"{TICKS}?broker=ibkr")).json()["next_cursor"]
        # Another limit is another page, not another list.
        await client.get(f"{TICKS}?broker=ibkr&limit=2&cursor={cursor}")

    listing = listing_of(SNAPSHOTS, broker="ibkr")
    assert timeline.asked[1] == (listing, position, 2)


@pytest.mark.parametrize(
    "path",
    [TICKS, f"{TICKS}?broker=tastytrade", "/v1/greeks/latest?broker=ibkr"],
)
async def test_a_cursor_of_other_filters_is_refused(timeline, path):
    timeline.page_answer = Page(items=b"[]", position=["a", "b", 9])
    async with serving(timeline) as client:
        cursor = (await client.get(f"{TICKS}?broker=ibkr")).json()["next_cursor"]
        answer = await client.get(httpx2.URL(path).copy_add_param("cursor", cursor))

    assert answer.status_code == 422
    assert "other filters" in answer.json()["detail"]


async def test_a_cursor_of_another_version_is_refused(timeline):
    timeline.page_answer = Page(items=b"[]", position=["a", "b", 9])
    async with serving(timeline) as client:
        cursor = (await client.get(TICKS)).json()["next_cursor"]
        version, *rest = msgspec.json.decode(urlsafe_b64decode(cursor + "=="))
        other = urlsafe_b64encode(msgspec.json.encode([version + 1, *rest]))
        answer = await client.get(TICKS, params={"cursor": other.decode().rstrip("=")})

    assert answer.status_code == 422
    assert len(timeline.asked) == 1


@pytest.mark.parametrize(
    ("error", "status", "has_retry_after"),
    [
        (ReadsBusy("x"), 503, True),
        (StoreUnavailable("s3cret"), 503, True),
        (ReadTooLong("s3cret"), 504, False),
        (StoreRejected("s3cret"), 422, False),
    ],
)
@pytest.mark.parametrize("query", ["", "?format=csv"])
async def test_an_error_of_the_database_is_a_problem_in_plain_words(
    timeline, query, error, status, has_retry_after
):
    timeline.error = error
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}{query}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) is has_retry_after
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("query", ["", "?format=csv"])
async def test_the_problem_of_a_slow_read_says_how_to_ask_for_less(timeline, query):
    timeline.error = ReadTooLong("x")
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}{query}")

    detail = answer.json()["detail"]
    assert all(f"`{name}`" in detail for name in ("start", "end", "contract_key"))


@pytest.mark.parametrize("limit", ["1_000", "\u0661\u0662", "+5", "5.0", "1e2", " 5"])
async def test_a_limit_has_plain_digits_only(timeline, limit):
    async with serving(timeline) as client:
        answer = await client.get("/v1/greeks/snapshots", params={"limit": limit})

    assert answer.status_code == 422
    assert timeline.asked == []
