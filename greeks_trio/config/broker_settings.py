"""The settings of the brokers.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from greeks_trio.config.declaration import Applies, Setting, part, setting, whole
from greeks_trio.config.kinds import (
    FILE,
    FLAG,
    NAMES,
    Kind,
    choice,
    number,
    parse_names,
    url,
    whole_number,
    zero_or,
)
from greeks_trio.config.secret import TOKEN, Secret
from greeks_trio.model.contract_keys import parse_option_key
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, KeptPayloads

# The brokers that have settings: each is a section of `Config`.
BROKERS: Final[tuple[Broker, ...]] = ("ibkr", "tastytrade")

# The heading of the settings that all brokers share.
CONTRACTS: Final = "Contracts and positions"

# Tastytrade's own pairs.  Any other API address may be a simulator.  The login of a
# simulator must not go to the real account streamer.
# Source: https://developer.tastytrade.com/streaming-account-data/
_STREAMER_OF_API: Final = {
    "https://api.tastyworks.com": "wss://streamer.tastyworks.com",
    "https://api.cert.tastyworks.com": "wss://streamer.cert.tastyworks.com",
}
_OPTIONAL_WS_URL: Final[Kind[str | None]] = Kind(
    parse=url("ws").parse,
    values=url("ws").values,
    write=lambda address: address or "",
)


def _parse_watchlist(text: str) -> dict[Broker, tuple[ContractKey, ...]]:
    lists: dict[Broker, dict[ContractKey, None]] = {broker: {} for broker in BROKERS}
    odd: list[str] = []
    for item in parse_names(text):
        try:
            brokers, key = _parse_watched(item)
        except ValueError as exc:
            odd.append(f"{item!r}, which {exc}")
            continue
        for broker in brokers:
            lists[broker][key] = None
    if odd:
        raise ValueError(f"holds {'; '.join(odd)}; use {_CONTRACT_LISTS.values}")
    return {broker: tuple(keys) for broker, keys in lists.items()}


def _parse_watched(item: str) -> tuple[Sequence[Broker], ContractKey]:
    """Return an option of the watch-list, and the brokers that stream it.

    A broker before the symbol limits the option to that broker.  In ``ibkr:702`` no
    symbol follows, but the broker's own id of a contract whose terms are not known here.

    Raises:
        ValueError: The item names no option.
    """
    prefix, colon, symbol = (part.strip() for part in item.partition(":"))
    if not colon:
        return BROKERS, parse_option_key(item)
    if prefix.lower() not in BROKERS:
        raise ValueError(f"begins with no broker ({', '.join(BROKERS)})")
    if symbol.isdigit():
        raise ValueError("is a broker's own id and not the symbol of an option")
    return (prefix.lower(),), parse_option_key(symbol)


def _write_nothing(_: Any) -> str:  # noqa: ANN401 - the default is always empty
    return ""


_CONTRACT_LISTS: Final = Kind(
    parse=_parse_watchlist,
    values="symbols of options and futures options separated by commas; a symbol for "
    "one broker has ibkr: or tastytrade: in front, such as SPY261218C00600000,"
    "./EX3 270219C7100,ibkr:SPXW261218P06000000",
    write=_write_nothing,
)

_WATCHLIST: Final[Setting[dict[Broker, tuple[ContractKey, ...]]]] = Setting(
    variable="GREEKS_WATCHLIST",
    default={},
    kind=_CONTRACT_LISTS,
    about="The contracts to stream besides the open positions.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)
_POSITIONS_INTERVAL: Final = Setting(
    variable="GREEKS_POSITIONS_INTERVAL_S",
    default=60.0,
    kind=number(1, 86_400, "seconds"),
    about="The time between two reads of the positions.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)
_ACCOUNT_VALUES: Final = Setting(
    variable="GREEKS_ACCOUNT_VALUES_S",
    default=60.0,
    kind=zero_or(1, 86_400, "seconds"),
    about="The time between two reads of the account values (net liquidation, cash, "
    "buying power, margin). 0 reads none.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)
_MARKET_METRICS: Final = Setting(
    variable="GREEKS_MARKET_METRICS_S",
    default=3_600.0,
    kind=zero_or(60, 86_400, "seconds"),
    about="The time between two reads of the market metrics (beta, IV rank, IV percentile) "
    "from Tastytrade. 0 reads none.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)

_ACCEPT_DELAYED: Final = Setting(
    variable="GREEKS_ACCEPT_DELAYED",
    default=False,
    kind=FLAG,
    about="With false a feed with delayed market data is degraded. With true the status "
    "has a note about them instead, and no alert fires. The rows say delayed or frozen, "
    "and are stale in every view, either way.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)
_SOURCE_PAYLOAD: Final = Setting(
    variable="GREEKS_SOURCE_PAYLOAD",
    default="full",
    kind=cast("Kind[KeptPayloads]", choice("full", "changed", "off")),
    about="The ticks that keep the broker's message in source_payload, which is two fifths "
    "of a row. With full all do. With changed only those do of which an impossible "
    "value or the time was replaced. With off none does.",
    applies=Applies.RELOAD,
    group=CONTRACTS,
)


def _ws_url_for(api_url: str) -> str:
    return f"{api_url}/ws".replace("http", "ws", 1)


def _grant(_: Mapping[str, Any]) -> str:
    return (
        "create an OAuth application and a grant at my.tastytrade.com (Manage, My "
        "Profile, API)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IbkrConfig:
    """How to reach the Client Portal gateway, and which data it streams."""

    api_url: str = setting(
        "IBKR_API_URL",
        "https://localhost:5000/v1/api",
        url("http", path="/v1/api"),
        about="The address of the gateway's REST interface.",
        applies=Applies.NEXT_CONNECTION,
        asked=True,
    )
    ws_url: str = setting(
        "IBKR_WS_URL",
        "wss://localhost:5000/v1/api/ws",
        url("ws"),
        about="The address of the gateway's WebSocket. The default follows "
        "IBKR_API_URL.",
        applies=Applies.NEXT_CONNECTION,
        default_from=("api_url", _ws_url_for),
    )
    ca_file: Path | None = setting(
        "IBKR_CA_FILE",
        None,
        FILE,
        about="The certificates to trust. Without this setting the certificate of a "
        "gateway on this machine is not verified, because it is self-signed. That of "
        "any other gateway is verified with the certificates of the system.",
        applies=Applies.NEXT_CONNECTION,
    )
    accounts: tuple[str, ...] = setting(
        "IBKR_ACCOUNTS",
        (),
        NAMES,
        about="The accounts to follow. An empty value means all of them.",
        applies=Applies.RELOAD,
        asked=True,
    )
    watchlist: tuple[ContractKey, ...] = part(
        _WATCHLIST, lambda lists: lists.get("ibkr", ())
    )
    positions_interval_s: float = whole(_POSITIONS_INTERVAL)
    account_values_s: float = whole(_ACCOUNT_VALUES)
    accept_delayed: bool = whole(_ACCEPT_DELAYED)
    source_payload: KeptPayloads = whole(_SOURCE_PAYLOAD)
    compete: bool = setting(
        "IBKR_COMPETE",
        False,
        FLAG,
        about="IBKR allows one brokerage session for each user. With true the service "
        "takes the session back from another program, which ends that program's "
        "session. With false it waits until the session is free.",
        applies=Applies.NEXT_CONNECTION,
    )
    market_data_lines: int = setting(
        "GREEKS_IBKR_MARKET_DATA_LINES",
        100,
        whole_number(1, 100_000),
        about="The number of contracts and underlyings that the account may stream at a "
        "time.",
        applies=Applies.RELOAD,
    )
    rotation: str = setting(
        "IBKR_ROTATION",
        "risk",
        choice("risk", "even"),
        about="How contracts share market-data lines when there are more contracts than "
        "lines. With risk, held options with the largest dollar gamma and vega have a "
        "line the most often. With even, all held options have it equally often.",
        applies=Applies.RELOAD,
    )
    # The gateway's heartbeat comes every 10 s.
    silence_limit_s: float = setting(
        "GREEKS_IBKR_SILENCE_S",
        30.0,
        number(11, 3_600, "seconds"),
        about="A connection without any frame for this time is dead. The gateway sends "
        "a frame every 10 seconds, also while the market is closed.",
        applies=Applies.RELOAD,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TastytradeConfig:
    """How to reach Tastytrade, and which data it streams."""

    secret: Secret = setting(
        "TT_SECRET",
        Secret(""),
        TOKEN,
        about="The client secret of your OAuth application.",
        applies=Applies.NEXT_CONNECTION,
        needed=_grant,
        asked=True,
    )
    refresh: Secret = setting(
        "TT_REFRESH",
        Secret(""),
        TOKEN,
        about="The refresh token of your grant.",
        applies=Applies.NEXT_CONNECTION,
        needed=_grant,
        asked=True,
    )
    api_url: str = setting(
        "TASTYTRADE_API_URL",
        "https://api.tastyworks.com",
        url("http"),
        about="The address of the REST interface. That of the sandbox is "
        "https://api.cert.tastyworks.com.",
        applies=Applies.NEXT_CONNECTION,
    )
    streamer_url: str | None = setting(
        "TASTYTRADE_STREAMER_URL",
        None,
        _OPTIONAL_WS_URL,
        about="The address of the account streamer, which reports each change of a "
        "position at once. Only Tastytrade's own API addresses have a default. Without "
        "an account streamer the service reads the positions at intervals.",
        applies=Applies.NEXT_CONNECTION,
        default_from=("api_url", _STREAMER_OF_API.get),
    )
    accounts: tuple[str, ...] = setting(
        "TASTYTRADE_ACCOUNTS",
        (),
        NAMES,
        about="The accounts to follow. An empty value means all of them.",
        applies=Applies.RELOAD,
        asked=True,
    )
    watchlist: tuple[ContractKey, ...] = part(
        _WATCHLIST, lambda lists: lists.get("tastytrade", ())
    )
    positions_interval_s: float = whole(_POSITIONS_INTERVAL)
    account_values_s: float = whole(_ACCOUNT_VALUES)
    market_metrics_s: float = whole(_MARKET_METRICS)
    accept_delayed: bool = whole(_ACCEPT_DELAYED)
    source_payload: KeptPayloads = whole(_SOURCE_PAYLOAD)
    # The server promises a frame every 60 s, and sends one every 30 s.
    silence_limit_s: float = setting(
        "GREEKS_TASTYTRADE_SILENCE_S",
        65.0,
        number(31, 3_600, "seconds"),
        about="A connection without any frame for this time is dead. The server sends a "
        "frame at least every 60 seconds.",
        applies=Applies.RELOAD,
    )
