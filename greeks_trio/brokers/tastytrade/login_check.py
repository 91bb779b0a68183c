"""``check`` for Tastytrade: one login, and everything that it lacks in words."""

from __future__ import annotations

from greeks_trio.brokers.tastytrade.instrument_pages import InstrumentPages
from greeks_trio.brokers.tastytrade.portfolio import (
    in_brief,
    watched_futures_options,
)
from greeks_trio.brokers.tastytrade.positions.accounts import AccountPositions
from greeks_trio.brokers.tastytrade.positions.instruments import complete, needed_pages
from greeks_trio.brokers.tastytrade.session import OpenSession, open_session
from greeks_trio.brokers.tastytrade.watched_options import WatchedOptions
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.positions import open_options


async def check_login(
    config: TastytradeConfig, *, open_session: OpenSession = open_session
) -> str:
    """Try the login and return one sentence about it, for a person at a terminal.

    Raises:
        CredentialsRejected: Tastytrade refused the configured login.
        FeedInterrupted: Tastytrade could not be reached or did not make sense, or there is
            no account to read.
    """
    async with open_session(config) as session:
        found = await session.read_positions(config.accounts)
        if found.refused == len(found.account_ids):
            raise FeedInterrupted(f"logged in, but {'; '.join(found.problems)}")
        answers = await InstrumentPages().get(session, needed_pages(found))
        watched = WatchedOptions()
        await watched.look_for(session, watched_futures_options(config, found))
        await session.quote_token()
    completed = complete(found, answers)
    return _sentence(
        found, [*found.problems, *completed.problems, *watched.sentences()]
    )


def _sentence(found: AccountPositions, problems: list[str]) -> str:
    options = len(open_options(found.positions))
    words = [
        f"logged in, {_counted(len(found.account_ids), 'account')}",
        _counted(options, "option position"),
    ]
    if found.refused:
        words.append(f"{_counted(found.refused, 'account')} not readable")
    if found.malformed:
        words.append(f"{_counted(found.malformed, 'position')} not understood")
    sentence = ", ".join(words)
    return f"{sentence}; {in_brief(problems)}" if problems else sentence


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
