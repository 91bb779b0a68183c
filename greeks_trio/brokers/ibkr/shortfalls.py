"""The report of one connection to IBKR: its streamed and its missing contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from greeks_trio.brokers.ibkr.lines.plan import Plan, WantedContract
from greeks_trio.brokers.ibkr.lines.rotation import Outcome
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.positions.earlier import HOLES
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.feeds.contract_gaps import ContractGaps, Missing
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.quiet import GREEKS_LIMIT_S
from greeks_trio.feeds.shortfalls import Shortfalls, in_short
from greeks_trio.feeds.stream_report import (
    DELAYED,
    WENT_SILENT,
    WITHOUT_GREEKS,
    WITHOUT_PRICE,
    show_missing,
)
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.expiry import exchange_day, expiration_of, has_expired
from greeks_trio.model.gap_reasons import GapReason

_WORDS: Final = {
    GapReason.NO_MARKET_DATA_LINE: "contracts without a market-data line",
    GapReason.SUBSCRIPTION_UNANSWERED: "subscriptions without an answer",
    GapReason.SUBSCRIPTION_SILENT: WENT_SILENT,
    GapReason.NO_GREEKS: WITHOUT_GREEKS,
}
# Why a contract that shares a line has no Greeks, by how its last turn went.
_REASONS: Final[dict[Outcome, GapReason]] = {
    "no turn": GapReason.NO_MARKET_DATA_LINE,
    "no answer": GapReason.SUBSCRIPTION_UNANSWERED,
    "no greeks": GapReason.NO_GREEKS,
    "greeks": GapReason.NO_MARKET_DATA_LINE,
}
# The words for the first letter of field 6509.
_WORDS_OF_LETTER: Final = {
    "D": DELAYED,
    "Y": DELAYED,
    "N": "subscriptions that this IBKR user has no market data for",
    "O": "subscriptions that wait for the market-data API acknowledgement at IBKR",
}


class StreamReport:
    """Compares the wanted contracts with the frames, and tells the health of the feed.

    Args:
        has_price: Returns whether the underlying of an option has a price.
    """

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        state: StreamState,
        gaps: ContractGaps,
        has_price: Callable[[WantedContract], bool],
    ) -> None:
        self._health = health
        self._shortfalls = shortfalls
        self._state = state
        self._gaps = gaps
        self._has_price = has_price
        self._streamed: dict[ContractKey, str | None] = {}

    def update(self, view: PortfolioView, now: float) -> None:
        """Report the streamed and the missing contracts; start and end gaps."""
        plan, sent, rotation = view.plan, self._state.lines.sent(), self._state.rotation
        expired = self._expired(plan)
        subscribed = [each for each in plan.options if each in sent or each in rotation]
        self._tell_streamed(plan, subscribed, expired)
        self._health.subscriptions(
            wanted=view.wanted, subscription_count=len(subscribed)
        )
        missing = self._missing(plan, expired, now)
        self._health.greeks_awaited(
            warming=self._state.quiet.warming() + rotation.warming(now),
            without_greeks=len(missing[GapReason.NO_GREEKS]),
        )
        self._note_rotation(plan)
        self._update_gaps(view, missing, expired, now)
        without_price = self._without_price(plan, expired, now)
        names = self._names(view, missing, without_price)
        keys = sorted(plan.options[each].contract.contract_key for each in expired)
        show_missing(self._health, self._shortfalls, names, expired=keys)
        self._note_account(view)
        self._note_holdings(view)
        self._note_doubt()
        self._shortfalls.stands()

    def _tell_streamed(
        self, plan: Plan, subscribed: Iterable[Conid], expired: set[Conid]
    ) -> None:
        """Tell which contracts should tick, and their exchanges."""
        contracts = (
            plan.options[conid].contract for conid in subscribed if conid not in expired
        )
        streamed = {each.contract_key: each.exchange for each in contracts}
        if streamed != self._streamed:
            self._streamed = streamed
            self._health.contracts_streamed(streamed, streamed)

    def _missing(
        self, plan: Plan, expired: set[Conid], now: float
    ) -> dict[GapReason, dict[Conid, float]]:
        """Return the options without data and the seconds since, by the reason."""
        quiet, lines = self._state.quiet, self._state.lines
        found: dict[GapReason, dict[Conid, float]] = {
            GapReason.NO_GREEKS: quiet.without_greeks(now),
            GapReason.SUBSCRIPTION_SILENT: quiet.silent(now),
            GapReason.SUBSCRIPTION_UNANSWERED: {
                each: lines.held_s(each, now) for each in self._unanswered()
            },
            GapReason.NO_MARKET_DATA_LINE: {},
        }
        for conid, (outcome, age_s) in self._state.rotation.overdue(now).items():
            found[_REASONS[outcome]][conid] = age_s
        return {
            reason: {
                conid: age_s
                for conid, age_s in ages.items()
                if conid in plan.options and conid not in expired
            }
            for reason, ages in found.items()
        }

    def _update_gaps(
        self,
        view: PortfolioView,
        missing: Mapping[GapReason, Mapping[Conid, float]],
        expired: set[Conid],
        now: float,
    ) -> None:
        options, today = view.plan.options, exchange_day(self._health.now())
        gaps: dict[ContractKey, Missing] = {
            options[conid].contract.contract_key: (reason, age_s)
            for reason, ages in missing.items()
            for conid, age_s in ages.items()
        }
        gaps.update(
            (key, (GapReason.UNKNOWN_CONTRACT, 0.0))
            for key in view.unknown
            if not has_expired(expiration_of(key), today)
        )
        awaited = {
            wanted.contract.contract_key
            for conid, wanted in options.items()
            if conid not in expired and not self._has_greeks(conid)
        }
        self._gaps.update(gaps, awaited=awaited, now=now)

    def _expired(self, plan: Plan) -> set[Conid]:
        today = exchange_day(self._health.now())
        return {
            conid
            for conid, wanted in plan.options.items()
            if has_expired(wanted.contract.expiration, today)
        }

    def _unanswered(self) -> set[Conid]:
        """Return the contracts that do not answer, without those that went silent.

        A contract that shares a line may answer in its next turn.
        """
        silent = self._state.quiet.silent(0.0)
        return {
            each
            for each in self._state.lines.unanswered()
            if each not in silent and each not in self._state.rotation
        }

    def _has_greeks(self, conid: Conid) -> bool:
        """Return whether the option has brought Greeks on this connection."""
        state = self._state
        return state.quiet.has_greeks(conid) or state.rotation.has_greeks(conid)

    def _without_price(self, plan: Plan, expired: set[Conid], now: float) -> list[str]:
        """Return the underlyings that should have a price by now, each once.

        An underlying beyond the lines is not among them.
        """
        beyond = set(plan.underlyings_without_line)
        found = {
            option.contract.underlying
            for conid, option in plan.options.items()
            if conid not in expired and option.underlying_conid not in beyond
            if self._is_price_late(conid, option, now) and not self._has_price(option)
        }
        return sorted(found)

    def _is_price_late(self, conid: Conid, option: WantedContract, now: float) -> bool:
        lines, line = self._state.lines, option.underlying_conid
        if line is None:  # IBKR has not told the underlying, so it has no line
            is_new = conid in lines and lines.held_s(conid, now) < GREEKS_LIMIT_S
            return self._has_greeks(conid) and not is_new
        return line in lines and (
            lines.held_s(line, now) >= GREEKS_LIMIT_S or lines.is_unanswered(line)
        )

    def _names(
        self,
        view: PortfolioView,
        missing: Mapping[GapReason, Iterable[Conid]],
        without_price: list[str],
    ) -> dict[str, list[str]]:
        """Return the names of the missing things by the words for their kind."""
        kinds: dict[str, Iterable[Conid]] = {
            **{words: missing[reason] for reason, words in _WORDS.items()},
            "underlyings beyond the market-data lines: their price is unknown": (
                view.plan.underlyings_without_line
            ),
            **self._by_letter(),
        }
        return {
            "contracts that IBKR does not know": list(view.unknown),
            WITHOUT_PRICE: without_price,
            "position rows that could not be read": [
                each.name for each in view.unreadable
            ],
            "contract keys that several instruments share": [
                each.name for each in view.shared_keys
            ],
            **{
                words: list(view.holes.get(hole, ()))
                for hole, words in HOLES.items()
                if hole != "unit"
            },
            **_named(kinds, view.plan),
        }

    def _by_letter(self) -> dict[str, list[Conid]]:
        """Return the contracts whose data are not as they should be, by the words."""
        found: dict[str, list[Conid]] = {}
        for conid, letter in self._state.letters.items():
            if words := _WORDS_OF_LETTER.get(letter):
                found.setdefault(words, []).append(conid)
        return found

    def _note_rotation(self, plan: Plan) -> None:
        rotation = self._state.rotation
        promised_s, measured_s = rotation.promised_s, rotation.measured_s
        self._health.rotation(
            (plan.options[conid].contract.contract_key for conid in plan.rotating),
            lines=plan.shared_lines,
            seen_within_s=promised_s,
            longest_s=measured_s,
        )
        if not plan.rotating:
            self._shortfalls.clear("rotation")
            return
        measured = (
            f"; the longest interval was {measured_s:.0f} s" if measured_s else ""
        )
        self._shortfalls.note(
            "rotation",
            f"{len(plan.rotating)} contracts share {plan.shared_lines} lines: each is seen"
            f" at least every {promised_s:.0f} s{measured}",
        )

    def _note_account(self, view: PortfolioView) -> None:
        if view.missing_accounts:
            missing = " and ".join(view.missing_accounts)
            self._shortfalls.add(
                "accounts", f"the IBKR login has no account {missing} (IBKR_ACCOUNTS)"
            )
        else:
            self._shortfalls.clear("accounts")
        if view.unread_accounts:
            some = in_short("accounts that IBKR does not list", view.unread_accounts)
            [reason, *_] = view.unread_accounts.values()
            self._shortfalls.add("unread accounts", f"{some}: {reason}")
        else:
            self._shortfalls.clear("unread accounts")
        if view.accounts_problem is not None:
            self._shortfalls.add("client accounts", view.accounts_problem)
        else:
            self._shortfalls.clear("client accounts")

    def _note_holdings(self, view: PortfolioView) -> None:
        """Show the accounts without positions, and facts that IBKR does not tell."""
        empty = " and ".join(view.empty_accounts)
        nameless = _nameless(view.plan)
        unit = view.holes.get("unit")
        notes = {
            "no positions": empty
            and f"logged in, and IBKR lists no position in {empty}",
            "unit": unit and in_short(HOLES["unit"], unit),
            "nameless": nameless
            and in_short("underlyings whose name IBKR has not told", nameless),
        }
        for thing, text in notes.items():
            if text:
                self._shortfalls.note(thing, text)
            else:
                self._shortfalls.clear(thing)

    def _note_doubt(self) -> None:
        if self._state.shows_doubt:
            self._shortfalls.add(
                "doubt",
                "IBKR has said that the session is lost or wanted by another program:"
                " requesting all subscriptions again",
            )
        else:
            self._shortfalls.clear("doubt")


def _nameless(plan: Plan) -> list[str]:
    """Return the underlyings that only have their conid."""
    keys = dict.fromkeys(each.contract.underlying for each in plan.options.values())
    return [key for key in keys if key.startswith("ibkr:")]


def _named(kinds: Mapping[str, Iterable[Conid]], plan: Plan) -> dict[str, list[str]]:
    """Return the names of the conids of each kind, options before underlyings."""
    names = _names_of(plan)

    def order(conid: Conid) -> tuple[bool, str]:
        return conid not in plan.options, names.get(conid, "")

    return {
        words: [names.get(each, f"conid {each}") for each in sorted(conids, key=order)]
        for words, conids in kinds.items()
    }


def _names_of(plan: Plan) -> dict[Conid, str]:
    """Return the key of each option and of each underlying by its conid."""
    names: dict[Conid, str] = {
        each.underlying_conid: each.contract.underlying
        for each in plan.options.values()
        if each.underlying_conid is not None
    }
    names.update(
        (conid, each.contract.contract_key) for conid, each in plan.options.items()
    )
    return names
