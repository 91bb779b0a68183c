from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from greeks_trio.model import contract_keys
from greeks_trio.model.contract_keys import parse_option_key
from greeks_trio.model.contracts import (
    OptionTerms,
    format_future_option_key,
    format_occ,
)
from greeks_trio.model.instruments import (
    MONTH_CODES,
    FutureTerms,
    broker_key,
    format_future_key,
    share_key,
)
from greeks_trio.simulators.book.book import Plan
from greeks_trio.simulators.book.real import make_real_book

BROKERS = ("ibkr", "tastytrade")
parse_contract_key = partial(contract_keys.parse_contract_key, brokers=BROKERS)
parse_underlying = partial(contract_keys.parse_underlying, brokers=BROKERS)

QQQ = "QQQ   270115P00480500"
EX2 = "./EX2 270212C7050"
LO = "./LO  270514P-5"

SPELLINGS = [
    # Options of the OCC.
    (QQQ, QQQ),
    ("QQQ270115P00480500", QQQ),
    ("qqq270115p00480500", QQQ),
    ("QQQ 270115P00480500", QQQ),
    (" qqq  270115 P 00480500 ", QQQ),
    ("QQQ\u00a0\u00a0\u00a0270115P00480500", QQQ),
    (".QQQ270115P480.5", QQQ),
    (".qqq270115p480.50", QQQ),
    ("T270115C00019000", "T     270115C00019000"),
    ("GOOGL270115C00190000", "GOOGL 270115C00190000"),
    ("NVDA1270115C00190000", "NVDA1 270115C00190000"),
    (".NVDA1270115C190", "NVDA1 270115C00190000"),
    ("BRK/B 270115C00500000", "BRKB  270115C00500000"),
    ("brk.b270115c00500000", "BRKB  270115C00500000"),
    ("BRK B 270115C00500000", "BRKB  270115C00500000"),
    (".BRK/B270115C500", "BRKB  270115C00500000"),
    # Futures options.
    (EX2, EX2),
    ("./EX2270212C7050", EX2),
    ("./ex2   270212 c 7050", EX2),
    ("./EX2 270212C7050.00", EX2),
    ("./ESH7 EX2H7 270212C7050", EX2),
    ("./ESH7  EX2H7  270212C7050", EX2),
    ("./ESH7EX2H7270212C7050", EX2),
    ("./ESH27 EX2H27 270212C7050", EX2),
    ("./mesh7ex2h7 270212c7050", EX2),
    ("./MNQZ6D3AX6 261116C25100", "./D3A 261116C25100"),
    ("./MNQZ62EUX6 261116C25100", "./2EU 261116C25100"),
    ("./ZNU7 ZN2M7 270611C112.75", "./ZN2 270611C112.75"),
    ("./ZN2 270611C112.75", "./ZN2 270611C112.75"),
    ("./6EM7 EUUJ7 270409C1.225", "./EUU 270409C1.225"),
    (LO, LO),
    ("./LO270514P-5", LO),
    ("./lo 270514p-5.0", LO),
    ("./CLM7 LOM7  270514P-5", LO),
    ("./G 270514P-0", "./G   270514P0"),
    ("./ESM27EX3M27 270219C7100", "./EX3 270219C7100"),
    ("./MNQZ5D4AU5 250922C24575", "./D4A 250922C24575"),
    ("./ESH7 E1AAZH7 270212C7050", "./E1AAZ270212C7050"),
    ("./WKLYX270514P10", "./WKLYX270514P10"),
    # Futures.
    ("/NQH27", "/NQH27"),
    ("/nqh27", "/NQH27"),
    ("/NQ H27", "/NQH27"),
    ("/NQH27:XCME", "/NQH27"),
    ("/M2KH27", "/M2KH27"),
    ("/6EM27", "/6EM27"),
    ("/estx50z26", "/ESTX50Z26"),
    # Shares.
    ("KO", "KO"),
    ("ko", "KO"),
    ("BF/B", "BF/B"),
    ("bf.b", "BF/B"),
    ("BF B", "BF/B"),
    ("bf  b", "BF/B"),
    ("BF-B", "BF/B"),
    ("BFB", "BF/B"),
    ("BAC PRL", "BAC/PRL"),
    ("SHOP:CAD", "SHOP:CAD"),
    ("shop : cad", "SHOP:CAD"),
    ("bp.:lse", "BP:LSE"),
    ("ATCO A:SFB", "ATCO/A:SFB"),
    ("7203:TSEJ", "7203:TSEJ"),
    ("5:sehk", "5:SEHK"),
    ("KO:NYSE", "KO"),
    ("ESTX50", "ESTX50"),
    ("OMXH25", "OMXH25"),
    # By a broker's own id.
    ("ibkr:81234", "ibkr:81234"),
    ("IBKR: 81234", "ibkr:81234"),
    ("tastytrade:ETH/USD", "tastytrade:ETH/USD"),
    ("Tastytrade:eth/usd", "tastytrade:ETH/USD"),
    ("tastytrade:Odd Thing", "tastytrade:Odd Thing"),
    ('ibkr:?{"acctId":"U1","ä": 7', 'ibkr:?{"acctId":"U1","ä": 7'),
    ("tastytrade:./clm7 lom7 270514p-5", "tastytrade:./CLM7 LOM7  270514P-5"),
    (
        "tastytrade:./MNQZ6D3AX6 261116C25100",
        "tastytrade:./MNQZ6D3AX6 261116C25100",
    ),
]


@pytest.mark.parametrize(("text", "key"), SPELLINGS)
def test_every_spelling_gives_the_stored_key(text, key):
    assert parse_contract_key(text) == key
    assert parse_contract_key(key) == key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no contract"),
        ("   ", "is no contract"),
        ("QQQ270115P0048050", "eight digits of strike"),
        ("QQQ270115P480.5", "eight digits of strike"),
        ("EX2 270212C7050", "begins with ./"),
        ("QQQ270115", "more digits"),
        ("QQQ271315P00480500", "not the symbol of an option"),  # month 13
        ("TOOLONG270115P00480500", "not the symbol of an option"),
        (".QQQ", "not the symbol of an option"),
        (".QQQ270115P0.0001", "not the symbol of an option"),
        ("garbage", "is no contract"),
        ("QQQ 480 put", "is no contract"),
        ("QQQ\uff12\uff1770115P00480500", "characters that no symbol has"),
        ("./ESH7 EX2", "not the symbol of a futures option"),
        ("./ESH7 EX2 270212C7050", "not the symbol of a futures option"),
        ("./AM7BM7XU7 270212C7050", "write a space between"),
        ("./EX2", "not the symbol of a futures option"),
        ("./EX2 270230C7050", "not the symbol of a futures option"),
        ("./EX2H27C7050:XCME", "has no day of expiration"),
        ("./EX2H27C7050", "has no day of expiration"),
        ("./LOM7270514P56", "write ./LO 270514P56"),
        ("./EX2H7 270212C7050", "write ./EX2 270212C7050"),
        ("./EX2H27270212C7050", "write ./EX2 270212C7050"),
        ("/NQH7", "write two digits of the year: /NQH27"),
        ("/NQ", "names a product"),
        ("/NQA27", "not the symbol of a future"),
        ("/", "not the symbol of a future"),
        ("NQH27", "write /NQH27"),
        ("NQH7", "write /NQH27"),
        ("6em8", "write /6EM28"),
        ("6EM27", "write /6EM27"),
        ("81234", "ibkr:81234"),
        ("$SPX", "is no contract"),
        ("ibkr:", "has no id"),
        ("ibkr:QQQ270115P00480500", "write the symbol alone"),
        ("tastytrade:./EX2 270212C7050", "write the symbol alone"),
        ("acme:81234", "no broker"),
        (":", "no broker"),
        ("KO:", "no broker"),
    ],
)
def test_any_other_text_is_refused_with_the_text_the_reason_and_examples(text, words):
    with pytest.raises(ValueError, match="SPY261211C00663000") as caught:
        parse_contract_key(text)

    assert words in str(caught.value)
    assert str(caught.value).startswith(ascii(text))


@pytest.mark.parametrize("text", ["PAH3", "GM1", "LCID1", "PETR4:BOVESPA", "HEN9:IBIS"])
def test_a_share_or_an_adjusted_root_is_no_future(text):
    assert parse_contract_key(text) == text


def test_a_long_text_is_shortened_in_the_refusal():
    with pytest.raises(ValueError, match="xxx") as caught:
        parse_contract_key("x" * 5_000)

    assert len(str(caught.value)) < 400


def test_any_broker_may_stand_before_its_own_id():
    assert contract_keys.parse_contract_key("acme:B-7", ("acme",)) == "acme:B-7"
    with pytest.raises(ValueError, match="no broker"):
        contract_keys.parse_contract_key("ibkr:702", ("acme",))


def classes():
    letters = ("E", "LO", "6E", "OZC", "EX3", "ZN2", "MES", "OZKE", "R3EX", "LOAB2")
    return [f"{name}{digit}" for name in letters for digit in ("", "1", "A")]


@pytest.mark.parametrize("strike", ["0", "-37.5", "0.00725", "7100", "112.75", "1E+3"])
def test_the_key_of_every_futures_option_gives_itself(strike):
    for root in classes():
        terms = OptionTerms(root, date(2027, 5, 14), "put", Decimal(strike))
        key = format_future_option_key(terms)

        assert parse_contract_key(key) == key
        assert parse_contract_key(key.replace(" ", "").lower()) == key


def test_the_key_of_every_option_of_the_occ_gives_itself():
    day = date(2026, 12, 18)
    for root in ("A", "SPXW", "AAPL1", "LCID1", "2SPY", "BRKB"):
        for n in range(0, 400, 50):
            terms = OptionTerms(root, day + timedelta(n), "call", Decimal(n) / 8)
            key = format_occ(terms)

            assert parse_contract_key(key) == key
            assert parse_option_key(key.replace(" ", "").lower()) == key


def test_the_keys_of_other_instruments_give_themselves():
    futures = [
        format_future_key(FutureTerms(root, month, year))
        for root in ("ES", "6E", "M2K", "10Y", "ZN", "MBT", "VX", "GE")
        for month in range(1, len(MONTH_CODES) + 1)
        for year in (2026, 2030, 2042)
    ]
    shares = [
        share_key(symbol, market=market)
        for symbol in ("RY", "BP.", "0700", "ATCO A", "BT.A")
        for market in ("CAD", "LSE", "OSE.JPN", "SEHK")
    ]
    others = [broker_key("ibkr", "702"), broker_key("tastytrade", "BTC/USD")]
    for key in (*futures, *shares, *others, share_key("BRK.B"), share_key("SPY")):
        assert parse_contract_key(key) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("spy", "SPY"),
        ("BRK.B", "BRK/B"),
        ("brk b", "BRK/B"),
        ("BRKB", "BRK/B"),
        ("SPXW", "SPX"),
        ("spx", "SPX"),
        ("/esm27", "/ESM27"),
        ("banknifty", "BANKNIFTY"),
        ("ry:cad", "RY:CAD"),
        ("ibkr:702", "ibkr:702"),
    ],
)
def test_an_underlying_is_found_in_every_spelling(text, key):
    assert parse_underlying(text) == key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (QQQ, "names an option, not an underlying"),
        (EX2, "names an option, not an underlying"),
        ("/ESM7", "/ESM27"),
        ("/ES", "names a product"),
        ("ESM27", "write /ESM27"),
        ("SPY 600", "is no contract"),
    ],
)
def test_any_other_underlying_is_refused(text, words):
    with pytest.raises(ValueError, match="SPX \\(index\\)") as caught:
        parse_underlying(text)

    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["KO", "/NQH27", "ibkr:702", "SHOP:CAD", "QQQ27"])
def test_only_options_are_options(text):
    with pytest.raises(ValueError, match="names no option"):
        parse_option_key(text)


@pytest.fixture(scope="module")
def real_book():
    day = date(2026, 11, 20)
    return make_real_book(Plan(contracts=250, seed=7, today=day, brokers=BROKERS))


def test_every_option_of_a_real_book_is_found_however_it_is_typed(real_book):
    contracts = [
        option.contract for held in real_book.options.values() for option in held
    ]
    assert len({each.contract_key for each in contracts}) > 100

    for each in contracts:
        key = each.contract_key
        assert parse_contract_key(key) == key
        assert parse_contract_key(key.lower().replace(" ", "")) == key
        assert parse_underlying(each.underlying) == each.underlying
        assert parse_underlying(f" {each.underlying.lower()} ") == each.underlying


def documented_spellings():
    """Yield the stored keys and a spelling of each, from the table of the document."""
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    section = page.partition("### Keys as you type them")[2].partition("###")[0]
    for row in re.findall(
        r"^\| [^|]+ \| (`[^|]+) \| ([^|]+) \|$", section, re.MULTILINE
    ):
        stored, typed = (re.findall("`([^`]+)`", cell) for cell in row)
        for text in (*stored, *typed):
            yield stored, text


def documented_refusals():
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    section = page.partition("| text | reason |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", section, re.MULTILINE)
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(("stored", "typed"), [*documented_spellings()])
def test_the_document_is_right_about_each_spelling(stored, typed):
    assert parse_contract_key(typed) in stored


@pytest.mark.parametrize("typed", documented_refusals())
def test_the_document_is_right_about_each_refusal(typed):
    with pytest.raises(ValueError, match="use such as"):
        parse_contract_key(typed)


def test_the_document_has_both_tables():
    assert len([*documented_spellings()]) > 20
    assert len(documented_refusals()) == 7
