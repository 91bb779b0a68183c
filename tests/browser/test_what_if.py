"""What if: the heat map, the figures beside it and the groups are those of the service."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import figure, keys, view, wait_state
from tests.browser.views import NOWHERE

PATH = "/v1/risk/scenarios"
FIGURES = ("profit_loss", "taylor_profit_loss", "dollar_delta", "theta", "vega", "rho")


class Answers:
    """The answers that a page gets, with their parameters."""

    def __init__(self, page):
        self.all = []
        page.on("response", self._add)

    def _add(self, response):
        if PATH in response.url and response.ok:
            self.all.append(response)

    def json(self):
        """Return all of them."""
        return [response.json() for response in self.all]

    def find(self, is_wanted):
        """Return the newest answer that is wanted.

        A newer one than that on the page may have come.
        """
        for response in reversed(self.all):
            answer = response.json()
            if is_wanted(answer):
                return answer
        raise AssertionError(f"none of {len(self.all)} answers is wanted")


def is_grid(answer):
    return len(answer["moves"]) == 11 and len(answer["vols"]) == 7


@pytest.fixture
def open_what_if(open_page):
    """A function that opens the view, and returns the page and its answers."""

    def open_what_if(service, query="", **options):
        # Far from the real view, which would read before the answers are collected.
        page = open_page(service, NOWHERE, **options)
        wait_state(page)
        answers = Answers(page)
        page.evaluate(f"() => {{ location.hash = '#/what-if?{query}' }}")
        page.get_by_role("gridcell").first.wait_for()
        return page, answers

    return open_what_if


def cell(page, x, y):
    return page.locator(f"[data-x='{x}'][data-y='{y}']").first


def read(page):
    """Return the figures of the grid, beside it and of the groups, at one moment."""
    return page.evaluate(
        """() => {
            const value = part => part && Number(part.dataset.value);
            const values = (part, selector) => Object.fromEntries(
                [...part.querySelectorAll(selector)].map(
                    each => [each.dataset.field, value(each)]));
            return {
                grid: [...document.querySelectorAll('[role=grid] tbody tr')].map(
                    row => [...row.querySelectorAll('[data-field]')].map(value)),
                beside: values(document.querySelector('.scenario'), '[data-field]'),
                groups: Object.fromEntries(
                    [...document.querySelectorAll('[data-key]')].map(
                        row => [row.dataset.key, values(row, '[data-field]')])),
            };
        }"""
    )


def profits(group):
    return group["grids"][0]["profit_loss"]


def test_each_cell_is_of_the_service_and_the_chosen_one_is_shown_in_full(
    open_what_if, demo
):
    page, answers = open_what_if(demo, "move=-6&vol=5")
    beside = page.locator(".scenario")
    expect(beside.get_by_role("heading")).to_contain_text("\u22126")
    expect(cell(page, 3, 4)).to_have_attribute("aria-selected", "true")

    shown = read(page)
    rows = shown["grid"][::-1]  # the highest volatility is at the top
    found = answers.find(
        lambda each: is_grid(each) and profits(each["totals"][0]) == rows
    )
    grid = found["totals"][0]["grids"][0]
    for name in FIGURES:
        assert shown["beside"][name] == grid[name][4][3], name


def test_arrow_keys_choose_a_cell_and_the_address_keeps_it(open_what_if, demo):
    page, _ = open_what_if(demo)
    cell(page, 5, 3).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    expect(cell(page, 7, 4)).to_be_focused()
    expect(cell(page, 7, 4)).to_have_attribute("aria-selected", "true")
    expect(page).to_have_url(re.compile(r"move=6&vol=5"))
    page.reload()
    expect(cell(page, 7, 4)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".scenario h3")).to_contain_text("+6")


def test_the_worst_cell_is_named_and_chosen_by_a_click(open_what_if, demo):
    page, _ = open_what_if(demo)
    shown = page.evaluate(
        """() => ({
            cells: [...document.querySelectorAll('[role=grid] [data-value]')].map(
                each => Number(each.dataset.value)),
            worst: Number(document.querySelector('.extremes [data-field=worst]')
                .dataset.value),
        })"""
    )
    assert shown["worst"] == min(shown["cells"])

    page.get_by_role("button", name="Worst of the grid").click()
    chosen = page.locator("[aria-selected=true] [data-value]")
    values = [
        float(each)
        for each in page.locator("[role=grid] [data-value]").evaluate_all(
            "all => all.map(e => e.dataset.value)"
        )
    ]
    assert float(chosen.get_attribute("data-value")) == pytest.approx(
        min(values), rel=0.1
    )


def test_a_desk_shows_the_whole_heat_map_and_the_groups(open_what_if, demo):
    page, _ = open_what_if(demo)
    page.get_by_role("region", name="Groups").get_by_role("row").first.wait_for()
    cut = page.locator("main .scroller").evaluate_all(
        "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.className)"
    )

    assert cut == []


def test_below_the_curves_are_their_values_at_the_move(open_what_if, demo):
    page, _ = open_what_if(demo, "move=-6&lines=days&line_days=0,7")
    legend = page.locator(".u-legend .u-value")
    expect(legend).to_have_count(3)  # the move, and two lines

    expect(legend.first).to_have_text("\u22126\u202f%")
    # The line of today has the value of the chosen cell.
    cell = page.locator("[aria-selected=true] [data-value]")
    expect(legend.nth(1)).to_have_text(re.compile(r"[\u2212+]\d"))
    assert legend.nth(1).inner_text()[0] == cell.inner_text()[0]


def test_a_slider_between_the_cells_asks_for_its_scenario(open_what_if, demo):
    page, answers = open_what_if(demo)
    slider = page.get_by_role("slider", name="Move of each underlying")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Days forward, exact").fill("7")
    beside = page.locator(".scenario")
    expect(beside).to_have_attribute("aria-busy", "false")
    expect(beside.get_by_role("heading")).to_have_text(
        "+1.5\u202f%, volatility 0\u202fpts, in 7 days"
    )

    shown = read(page)["beside"]
    expected = [
        {name: grid[name][0][1] for name in FIGURES}
        for answer in answers.json()
        if answer["moves"] == [0, 1.5]
        for grid in answer["totals"][0]["grids"]
        if grid["days"] == 7
    ]
    assert {name: shown[name] for name in FIGURES} in expected


def test_a_click_on_a_group_shows_its_scenario_alone(open_what_if, demo):
    page, answers = open_what_if(demo, "move=-6")
    table = page.get_by_role("region", name="Groups").get_by_role("table")
    row = table.locator("[data-key^='SPY ']")
    row.wait_for()
    shown = read(page)["groups"]["SPY USD"]
    expected = []
    for answer in filter(is_grid, answers.json()):
        [spy] = [each for each in answer["groups"] if each["underlying"] == "SPY"]
        cells = [value for line in profits(spy) for value in line]
        expected.append((profits(spy)[3][3], min(cells), max(cells)))
    assert tuple(shown[name] for name in ("profit_loss", "worst", "best")) in expected

    row.click()
    expect(view(page, "what-if").get_by_role("group", name="Filters")).to_contain_text(
        "SPY"
    )
    expect(page).to_have_url(re.compile("underlying=SPY"))
    # Units of one underlying add up.
    expect(figure(page.locator(".scenario"), "delta").last).to_be_visible()


def test_a_click_on_a_heading_sorts_the_groups(open_what_if, demo):
    page, _ = open_what_if(demo)
    table = page.get_by_role("region", name="Groups").get_by_role("table")
    table.get_by_role("button", name="Underlying").click()
    expect(page).to_have_url(re.compile("sort=underlying"))

    names = keys(table)
    assert len(names) > 2
    assert names == sorted(names)


def test_each_currency_has_a_grid_and_what_is_left_out_is_named(open_what_if, resting):
    page, answers = open_what_if(resting)
    answer = answers.find(is_grid)
    currencies = {each["currency"] for each in answer["totals"]}
    left_out = answer["left_out"]
    assert len(currencies) > 1
    assert left_out["count"]

    expect(page.get_by_role("grid")).to_have_count(len(currencies))
    panel = page.locator("[data-part='left-out']")
    expect(panel).to_contain_text(f"Left out: {left_out['count']} position")
    for reason in left_out["reasons"]:
        expect(panel).to_contain_text(reason)
    assert_accessible(page)


def test_a_refusal_is_told_and_the_grid_before_it_stays(open_what_if, demo, watch):
    watch.announce("status of 503")
    page, _ = open_what_if(demo)
    problem = {"status": 503, "detail": "The database does not answer."}
    page.route(
        f"**{PATH}*",
        lambda route: route.fulfill(
            status=503, content_type="application/json", body=json.dumps(problem)
        ),
    )
    page.get_by_role("button", name="Square root of time").click()

    expect(view(page, "what-if").locator(".head")).to_contain_text(problem["detail"])
    expect(page.locator(".unvouched").get_by_role("gridcell").first).to_be_visible()


def test_a_book_without_positions_says_so(open_page, demo):
    page = open_page(demo, NOWHERE)
    body = {
        **{name: [] for name in ("totals", "groups", "unused", "models")},
        "left_out": {"count": 0, "reasons": {}, "positions": []},
        "rate": 0.04,
        "dividend_yields": {},
        "betas": {},
        "benchmark": None,
        "group_by": "underlying",
    }
    page.route(f"**{PATH}*", lambda route: route.fulfill(json=body))
    page.evaluate("() => { location.hash = '#/what-if' }")

    expect(page.locator("main")).to_contain_text("No positions yet")
