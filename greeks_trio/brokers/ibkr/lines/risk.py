"""The share of each option in the risk of the book: its weight in the rotation.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from greeks_trio.brokers.ibkr.lines.plan import WantedContract
from greeks_trio.model.contracts import Conid


class RiskBook:
    """The newest gamma and vega of each contract, and the price of its underlying."""

    def __init__(self) -> None:
        self._known: dict[Conid, tuple[float, float, float | None]] = {}

    def note(
        self,
        conid: Conid,
        gamma: float | None,
        vega: float | None,
        underlying_price: float | None,
    ) -> None:
        """Take the newest values of a contract; a missing one leaves the earlier one."""
        before = self._known.get(conid, (0.0, 0.0, None))
        self._known[conid] = (
            before[0] if gamma is None else gamma,
            before[1] if vega is None else vega,
            before[2] if underlying_price is None else underlying_price,
        )

    def weights(self, options: Mapping[Conid, WantedContract]) -> dict[Conid, float]:
        """Return the weight of each option; the weights of the held ones sum up to 1 or 2.

        A held option weighs its share in the dollar gamma of all, plus its share in their
        dollar vega.  One whose risk is not known weighs as much as the mean of the known
        ones.  A watched option weighs nothing.
        """
        gammas: dict[Conid, float] = {}
        vegas: dict[Conid, float] = {}
        for conid, wanted in options.items():
            units = _units(wanted)
            if conid in self._known and units is not None:
                gamma, vega, price = self._known[conid]
                price = float(wanted.contract.strike) if price is None else price
                gammas[conid] = units * abs(gamma) * price**2
                vegas[conid] = units * abs(vega)
        all_gamma, all_vega = sum(gammas.values()) or 1.0, sum(vegas.values()) or 1.0
        known = {
            each: gammas[each] / all_gamma + vegas[each] / all_vega for each in gammas
        }
        held = sum(each.is_held for each in options.values())
        mean = sum(known.values()) / len(known) if known else 1 / max(1, held)
        return {
            conid: known.get(conid, mean) if wanted.is_held else 0.0
            for conid, wanted in options.items()
        }

    def forget(self, conid: Conid) -> None:
        """Drop one contract."""
        self._known.pop(conid, None)


def held_first(options: Mapping[Conid, WantedContract]) -> dict[Conid, float]:
    """Return 1 for each held option and 0 for each watched one."""
    return {conid: float(wanted.is_held) for conid, wanted in options.items()}


def _units(wanted: WantedContract) -> float | None:
    """Return the currency per quoted unit over all accounts, long and short alike."""
    multiplier, factor = wanted.contract.multiplier, wanted.contract.price_factor
    if multiplier is None or factor is None:
        return None
    quantities = (each.quantity or Decimal(0) for each in wanted.holders)
    return float(multiplier * factor * sum(map(abs, quantities), Decimal(0)))
