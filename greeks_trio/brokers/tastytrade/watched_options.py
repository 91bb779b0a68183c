"""The symbols of watched futures options, remembered across connections."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import trio

from greeks_trio.brokers.tastytrade.positions.chains import (
    OptionChain,
    WatchedOption,
    find_in_chain,
    read_products,
)
from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import ContractKey, parse_future_option_key

logger = logging.getLogger(__name__)

# A chain has thousands of options, so it is requested seldom.
ASK_AGAIN_S: Final = 900.0


class WatchedOptions:
    """Looks up the watched futures options in the chains of their products.

    Attributes:
        found: The options that Tastytrade lists, by key.
        problems: The reason by the key of each option that was not found.
    """

    def __init__(self) -> None:
        self.found: dict[ContractKey, WatchedOption] = {}
        self.problems: dict[ContractKey, str] = {}
        # Until then, options that were not found are not looked up again.
        self._due_at = float("-inf")

    async def look_for(
        self, session: TastytradeSession, keys: Iterable[ContractKey]
    ) -> None:
        """Find the options of these keys, and forget all others.

        Raises:
            CredentialsRejected: The login was refused.
        """
        wanted = set(keys)
        for known in (self.found, self.problems):
            for key in known.keys() - wanted:
                del known[key]
        missing = wanted - self.found.keys()
        is_new = bool(missing - self.problems.keys())
        if missing and (is_new or trio.current_time() >= self._due_at):
            self._due_at = trio.current_time() + ASK_AGAIN_S
            await self._look_up(session, sorted(missing))

    def sentences(self) -> list[str]:
        """Return a sentence for each option that was not found."""
        return [
            f"no streamer symbol for {key}: {reason}"
            for key, reason in self.problems.items()
        ]

    async def _look_up(
        self, session: TastytradeSession, keys: Iterable[ContractKey]
    ) -> None:
        """Find the options; a chain that cannot be read costs only its own."""
        try:
            products = read_products(await session.option_products())
        except FeedInterrupted as exc:
            reason = f"the list of products cannot be read: {exc}"
            self.problems.update(dict.fromkeys(keys, reason))
            return
        by_product: dict[str, list[ContractKey]] = {}
        for key in keys:
            trading_class = parse_future_option_key(key).root
            if trading_class in products:
                by_product.setdefault(products[trading_class], []).append(key)
            else:
                self.problems[key] = f"Tastytrade lists no options {trading_class}"
        for product, members in by_product.items():
            try:
                chain = await session.option_chain(product)
            except FeedInterrupted as exc:
                reason = f"the options on {product} cannot be read: {exc}"
                self.problems.update(dict.fromkeys(members, reason))
            else:
                self._take(members, chain, product)

    def _take(
        self, keys: Iterable[ContractKey], chain: OptionChain, product: str
    ) -> None:
        for key in keys:
            found = find_in_chain(key, chain)
            if found is None:
                self.problems[key] = f"it is not among the options on {product}"
            else:
                self.found[key] = found
                self.problems.pop(key, None)
