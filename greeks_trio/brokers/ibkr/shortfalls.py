"""Says what one connection brings and what it lacks: in the status and as gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from greeks_trio.brokers.ibkr.lines.plan import Plan
from greeks_trio.brokers.ibkr.lines.quiet import QuietLines
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.feeds.contract_gaps import ContractGaps, Missing
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.gap_reasons import GapReason


class Reporter:
    """Looks at all that one connection knows, and tells the health of the feed."""

    def __init__(
        self,
        health: FeedHealth,
        reader: FrameReader,
        lines: LineSchedule,
        watch: QuietLines,
        gaps: ContractGaps,
    ) -> None:
        self._health = health
        self._reader = reader
        self._lines = lines
        self._watch = watch
        self._gaps = gaps
        self._troubles: dict[str, str] = {}
        self._streamed: set[ContractKey] = set()

    def trouble(self, about: str, words: str | None) -> bool:
        """Note that something does not work, or with `None` that it does again.

        Returns whether that is news; the next `report` shows it.
        """
        if self._troubles.get(about) == words:
            return False
        self._troubles.pop(about, None)
        if words is not None:
            self._troubles[about] = words
        return True

    def report(self, view: PortfolioView, now: float) -> None:
        """Say what is streamed and what is missing; open and close gaps accordingly."""
        plan, sent = view.plan, self._lines.sent()
        streamed = {
            wanted.contract.contract_key
            for conid, wanted in plan.options.items()
            if conid in sent
        }
        if streamed != self._streamed:
            self._streamed = streamed
            self._health.contracts_streamed(streamed)
        self._health.subscriptions(
            wanted=view.wanted,
            subscription_count=len(streamed),
            without_line=len(plan.waiting),
        )
        without_greeks = len(
            self._watch.without_greeks(now)
        )  # before the others are counted
        self._health.greeks_awaited(
            warming=self._watch.warming(), without_greeks=without_greeks
        )
        self._gaps.update(self._missing(plan, now))
        problems = list(self._problems(view, now))
        if not problems:
            self._health.connected()
            return
        if self._health.session().status == "connecting":
            self._health.connected()
        self._health.degraded("; ".join(problems))

    def _missing(self, plan: Plan, now: float) -> dict[ContractKey, Missing]:
        options = plan.options
        found: dict[ContractKey, Missing] = {}

        def note(reason: GapReason, conids: Iterable[tuple[Conid, float]]) -> None:
            for conid, age_s in conids:
                if conid in options:
                    found[options[conid].contract.contract_key] = (reason, age_s)

        note(GapReason.NO_GREEKS, self._watch.without_greeks(now).items())
        note(GapReason.SUBSCRIPTION_SILENT, self._watch.silent(now).items())
        note(
            GapReason.SUBSCRIPTION_UNANSWERED,
            ((each, self._lines.held_s(each, now)) for each in self._unanswered()),
        )
        note(GapReason.NO_MARKET_DATA_LINE, ((each, 0.0) for each in plan.waiting))
        return found

    def _unanswered(self) -> set[Conid]:
        """Return the conids that do not answer; a silent one is called silent."""
        return self._lines.unanswered() - set(self._watch.silent(0.0))

    def _problems(self, view: PortfolioView, now: float) -> Iterator[str]:
        plan = view.plan
        unanswered = self._unanswered()
        letters = Counter(self._reader.letters.values())
        claims = (
            (len(plan.waiting), "contracts beyond the market-data lines"),
            (
                plan.underlyings_without_line,
                "underlyings beyond the market-data lines: their price is unknown",
            ),
            (len(view.unknown), "contracts that IBKR does not know"),
            (view.unidentified, "position rows that could not be read"),
            (
                sum(conid in plan.options for conid in unanswered),
                "subscriptions without an answer",
            ),
            (
                sum(conid not in plan.options for conid in unanswered),
                "underlyings without an answer: their price is unknown",
            ),
            (len(self._watch.silent(now)), "subscriptions that have gone silent"),
            (len(self._watch.without_greeks(now)), "contracts without Greeks so far"),
            (letters["D"] + letters["Y"], "subscriptions with delayed market data"),
            (letters["N"], "subscriptions that this IBKR user has no market data for"),
            (
                letters["O"],
                "subscriptions that wait for the market-data API acknowledgement at IBKR",
            ),
        )
        yield from (f"{number} {words}" for number, words in claims if number)
        if view.missing_accounts:
            missing = " and ".join(view.missing_accounts)
            yield f"the IBKR login has no account {missing} (IBKR_ACCOUNTS)"
        if self._reader.is_doubted:
            yield (
                "IBKR has said that the session is lost or wanted by another program:"
                " asking again for all"
            )
        yield from self._troubles.values()
