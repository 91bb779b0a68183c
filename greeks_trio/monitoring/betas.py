"""The betas of the file while the service runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import trio

from greeks_trio.config.betas_file import FileBeta, load_betas
from greeks_trio.errors import ConfigError
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.findings import Finding
from greeks_trio.model.market_metrics import FILE, MarketMetrics
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.market_metrics import MetricsBoard

logger = logging.getLogger(__name__)


class Betas:
    """Takes the file of betas to the board, at the start and at SIGHUP.

    Attributes:
        board: Has the metrics on their way to the database.
    """

    def __init__(
        self, board: MetricsBoard, conditions: Conditions, now: Callable[[], datetime]
    ) -> None:
        self.board = board
        self._conditions = conditions
        self._now = now
        self._betas: tuple[FileBeta, ...] = ()

    def use(self, betas: Iterable[FileBeta]) -> None:
        """Take the betas of the file; it has no others."""
        now, self._betas = self._now(), tuple(betas)
        rows = [
            MarketMetrics(
                symbol=each.symbol,
                source=FILE,
                observed_at=now,
                beta=each.beta,
                beta_date=each.day,
            )
            for each in self._betas
        ]
        self.board.use_file(rows)

    def tell_again(self) -> None:
        """Take the betas to the board again, and let the broker be asked again."""
        self.board.plan.due_at = -math.inf
        self.board.wanted_changed.wake()
        self.use(self._betas)

    def reload(self, file: Path | None) -> None:
        """Read the file again; with problems, log them, and the old betas stay in force."""
        try:
            betas = load_betas(file)
        except ConfigError as exc:
            for problem in exc.problems:
                logger.error("betas.refused problem=%s", problem)
            self._conditions.begin(ConditionKind.BETAS_REFUSED, f"{exc}")
            return
        self._conditions.end(ConditionKind.BETAS_REFUSED)
        self.use(betas)


async def inspect_betas(path: Path) -> list[Finding]:
    """Return a finding with the number of betas, or one for each problem."""
    await trio.lowlevel.checkpoint()
    try:
        betas = load_betas(path)
    except ConfigError as exc:
        return [
            Finding(
                subject="betas",
                verdict="failed",
                sentence=each,
                remedy="Correct the file; the page Risk of the documents explains it.",
            )
            for each in exc.problems
        ]
    oldest = f", the oldest of {min(b.day for b in betas)}" if betas else ""
    sentence = f"{len(betas)} betas{oldest}"
    return [Finding(subject="betas", verdict="fine", sentence=sentence)]
