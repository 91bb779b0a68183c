"""The report of one connection to IBKR: its streamed and its missing contracts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from greeks_trio.brokers.ibkr.lines.plan import Plan
from greeks_trio.brokers.ibkr.lines.rotation import Outcome
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.feeds.contract_gaps import ContractGaps, Missing
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls, in_short
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.gap_reasons import GapReason

_UNANSWERED: Final = "subscriptions without an answer"
_NO_GREEKS: Final = "contracts without Greeks so far"
# The reason and the words for missing Greeks, by how the last turn of a contract went.
_REASONS: Final[dict[Outcome, tuple[GapReason, str]]] = {
    "no turn": (GapReason.NO_MARKET_DATA_LINE, "contracts without a market-data line"),
    "no answer": (GapReason.SUBSCRIPTION_UNANSWERED, _UNANSWERED),
    "no greeks": (GapReason.NO_GREEKS, _NO_GREEKS),
    "greeks": (GapReason.NO_MARKET_DATA_LINE, "contracts without a market-data line"),
}
_DELAYED: Final = "subscriptions with delayed market data"
# The words for the first letter of field 6509.
_WORDS_OF_LETTER: Final = {
    "D": _DELAYED,
    "Y": _DELAYED,
    "N": "subscriptions that this IBKR user has no market data for",
    "O": "subscriptions that wait for the market-data API acknowledgement at IBKR",
}


class StreamReport:
    """Compares the wanted contracts with the frames, and tells the health of the feed."""

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        state: StreamState,
        gaps: ContractGaps,
    ) -> None:
        self._health = health
        self._shortfalls = shortfalls
        self._state = state
        self._gaps = gaps
        self._streamed: dict[ContractKey, str | None] = {}

    def update(self, view: PortfolioView, now: float) -> None:
        """Report the streamed and the missing contracts; start and end gaps."""
        plan, sent, rotation = view.plan, self._state.lines.sent(), self._state.rotation
        streamed = {
            wanted.contract.contract_key: wanted.contract.exchange
            for conid, wanted in plan.options.items()
            if conid in sent or conid in rotation
        }
        if streamed != self._streamed:
            self._streamed = streamed
            self._health.contracts_streamed(streamed, streamed)
        self._health.subscriptions(wanted=view.wanted, subscription_count=len(streamed))
        quiet = self._state.quiet
        without_greeks = len(quiet.without_greeks(now))  # before `warming`
        overdue = rotation.overdue(now)
        self._health.greeks_awaited(
            warming=quiet.warming() + rotation.warming(now),
            without_greeks=without_greeks + len(overdue),
        )
        self._note_rotation(plan)
        self._gaps.update(self._missing(plan, now))
        names = self._names(view, now)
        self._note_delayed(names)
        self._shortfalls.count(names)
        self._note_account(view)
        self._note_holdings(view)
        self._note_doubt()
        self._shortfalls.stands()

    def _missing(self, plan: Plan, now: float) -> dict[ContractKey, Missing]:
        options, state = plan.options, self._state
        found: dict[ContractKey, Missing] = {}

        def note(reason: GapReason, conids: Iterable[tuple[Conid, float]]) -> None:
            for conid, age_s in conids:
                if conid in options and conid not in state.rotation:
                    found[options[conid].contract.contract_key] = (reason, age_s)

        note(GapReason.NO_GREEKS, state.quiet.without_greeks(now).items())
        note(GapReason.SUBSCRIPTION_SILENT, state.quiet.silent(now).items())
        note(
            GapReason.SUBSCRIPTION_UNANSWERED,
            ((each, state.lines.held_s(each, now)) for each in self._unanswered()),
        )
        for conid, (outcome, age_s) in state.rotation.overdue(now).items():
            reason, _ = _REASONS[outcome]
            found[options[conid].contract.contract_key] = (reason, age_s)
        return found

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

    def _overdue(self, now: float) -> dict[str, list[Conid]]:
        """Return the contracts that were not seen in their turns, by the words."""
        found: dict[str, list[Conid]] = {}
        for conid, (outcome, _) in self._state.rotation.overdue(now).items():
            _, words = _REASONS[outcome]
            found.setdefault(words, []).append(conid)
        return found

    def _names(self, view: PortfolioView, now: float) -> dict[str, list[str]]:
        """Return the names of the missing things by the words for their kind."""
        plan, quiet = view.plan, self._state.quiet
        unanswered = self._unanswered()
        overdue = self._overdue(now)
        kinds: dict[str, Iterable[Conid]] = {
            **overdue,
            "underlyings beyond the market-data lines: their price is unknown": (
                plan.underlyings_without_line
            ),
            _UNANSWERED: [
                *(unanswered & plan.options.keys()),
                *overdue.get(_UNANSWERED, ()),
            ],
            "underlyings without an answer: their price is unknown": (
                unanswered - plan.options.keys()
            ),
            "subscriptions that have gone silent": quiet.silent(now),
            _NO_GREEKS: [*quiet.without_greeks(now), *overdue.get(_NO_GREEKS, ())],
            **self._by_letter(),
        }
        names = _names_of(plan)
        return {
            "contracts that IBKR does not know": list(view.unknown),
            "position rows that could not be read": [
                each.name for each in view.unreadable
            ],
            "contract keys that several instruments share": [
                each.name for each in view.shared_keys
            ],
            **{
                words: sorted(names.get(each, f"conid {each}") for each in conids)
                for words, conids in kinds.items()
            },
        }

    def _by_letter(self) -> dict[str, list[Conid]]:
        """Return the contracts whose data are not as they should be, by the words."""
        found: dict[str, list[Conid]] = {}
        for conid, letter in self._state.letters.items():
            if words := _WORDS_OF_LETTER.get(letter):
                found.setdefault(words, []).append(conid)
        return found

    def _note_delayed(self, names: dict[str, list[str]]) -> None:
        """Turn delayed data from a fault into a note, if they are accepted."""
        delayed = names.pop(_DELAYED, []) if self._health.accepts_delayed else []
        if delayed:
            text = f"{in_short(_DELAYED, delayed)}, accepted by GREEKS_ACCEPT_DELAYED"
            self._shortfalls.note("delayed", text)
        else:
            self._shortfalls.clear("delayed")

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
        if view.accounts_problem is not None:
            self._shortfalls.add("client accounts", view.accounts_problem)
        else:
            self._shortfalls.clear("client accounts")

    def _note_holdings(self, view: PortfolioView) -> None:
        """Show the accounts without positions, and contracts that were adjusted."""
        empty = " and ".join(view.empty_accounts)
        words = "adjusted contracts whose deliverable IBKR does not say"
        nameless = _nameless(view.plan)
        notes = {
            "no positions": empty
            and f"logged in, and IBKR lists no position in {empty}",
            "adjusted": view.adjusted and in_short(words, view.adjusted),
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
