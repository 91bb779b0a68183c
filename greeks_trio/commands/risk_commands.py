"""The commands about risk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from greeks_trio.commands.moments import parse_time
from greeks_trio.commands.options import (
    embedded_options,
    status_options,
    whatif_options,
)
from greeks_trio.commands.outcome import Plan, configured, run_trio
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import BROKERS

_GROUPS: Final = (
    *("underlying", "broker", "account_id", "expiration", "expiration_bucket"),
    *("strategy_tag", "contract_key", "currency"),
)


@click.command()
@click.option(
    "--since",
    "start",
    metavar="TIME",
    default="00:00",
    show_default=True,
    callback=parse_time,
    help="The first moment: 09:30, yesterday, 2026-11-20, or 2026-11-20T14:30Z. Without a "
    "zone it is a time of this machine. A time of day is the last one that is past.",
)
@click.option(
    "--until",
    "end",
    metavar="TIME",
    callback=parse_time,
    help="The last moment, in the same forms; default: now.",
)
@click.option("--account", "account_id", help="Only this account.")
@click.option("--underlying", help="Only this underlying.")
@click.option("--strategy", "strategy_tag", metavar="TAG", help="Only this strategy.")
@click.option("--broker", type=click.Choice(BROKERS), help="Only this broker.")
@click.option(
    "--by",
    "group_by",
    type=click.Choice(_GROUPS),
    help="Also a line for each of these.",
)
@status_options
def explain(
    *,
    url: str | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - passed on as they are
) -> Plan:
    """Show why the value of the positions changed between two moments.

    The parts are delta, gamma, theta, vega, parts of second order, trades and a residual,
    from the stored ticks. Positions without a price are named with the reason.

    Exit status: 0 done, 1 no answer, 2 wrong settings or a request that is not valid.
    """

    def plan() -> int:
        from greeks_trio.commands.explain import run_explain

        params = {name: str(value) for name, value in options.items() if value}
        return run_trio(partial(run_explain, url=url, as_json=as_json, params=params))

    return plan


@click.command()
@click.option(
    "--by",
    default="underlying",
    show_default=True,
    metavar="A,B,...",
    help="The groups of the totals: underlying, account_id, broker, expiration, "
    "expiration_bucket, strategy_tag, currency, several of them, or book.",
)
@click.option("--account", "account_id", metavar="ID", help="Only this account.")
@click.option("--broker", type=click.Choice(BROKERS), help="Only this broker.")
@click.option("--underlying", metavar="KEY", help="Only this underlying.")
@click.option("--strategy", "strategy_tag", metavar="TAG", help="Only this strategy.")
@click.option("--watch", is_flag=True, help="Show it anew every 2 s, until Ctrl-C.")
@status_options
def risk(
    *,
    url: str | None,
    as_json: bool,
    by: str,
    watch: bool,
    **filters: str | None,
) -> Plan:
    """Show the delta, gamma, theta and vega of the positions, from a running service.

    A sum that lacks positions has an asterisk, and a line below says why.

    Exit status: 0 shown, also with asterisks, 1 the service refuses the request or cannot
    answer now, 2 down or wrong settings.
    """

    def plan() -> int:
        from greeks_trio.commands.risk import RiskOptions, run_risk

        given = {name: value for name, value in filters.items() if value is not None}
        options = RiskOptions(
            url=url, by=by, filters=given, watch=watch, as_json=as_json
        )
        return run_trio(partial(run_risk, options))

    return plan


@click.command("beta-weighted")
@click.option(
    "--benchmark",
    metavar="KEY",
    help="The underlying in whose shares the deltas are expressed; default: "
    "GREEKS_BENCHMARK of the service.",
)
@click.option("--account", "account_id", metavar="ID", help="Only this account.")
@click.option("--broker", type=click.Choice(BROKERS), help="Only this broker.")
@click.option("--underlying", metavar="KEY", help="Only this underlying.")
@status_options
def beta_weighted(*, url: str | None, as_json: bool, **options: str | None) -> Plan:
    """Show the deltas in shares and dollars of a benchmark, from a running service.

    A position without a known beta is in no sum; a line below names it.

    Exit status: 0 done, 1 no answer, 2 wrong settings or a request that is not valid.
    """

    def plan() -> int:
        from greeks_trio.commands.beta_weighted import run_beta_weighted

        params = {name: value for name, value in options.items() if value is not None}
        return run_trio(
            partial(run_beta_weighted, url=url, as_json=as_json, params=params)
        )

    return plan


@click.command()
@whatif_options
@status_options
def whatif(
    *,
    url: str | None,
    as_json: bool,
    betas: Sequence[str],
    dividend_yields: Sequence[str],
    **options: Any,  # noqa: ANN401 - passed on as they are
) -> Plan:
    """Show profit and loss after moves of prices, volatilities and time.

    The running service prices every open option again; shares and futures move with
    their underlyings. All numbers are values of a model. Positions that it cannot price
    are counted and named with the reason.

    Exit status: 0 done, 1 no answer, 2 wrong settings or a request that is not valid.
    """

    def plan() -> int:
        from greeks_trio.commands.whatif import params_of, run_whatif

        params = params_of(options, betas=betas, dividend_yields=dividend_yields)
        return run_trio(partial(run_whatif, url=url, as_json=as_json, params=params))

    return plan


@click.command()
@embedded_options
@click.option(
    "--test", "is_test", is_flag=True, help="Send a sample to each channel instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the rules.")
def alerts(
    *, embedded: bool, data_dir: Path | None, is_test: bool, as_json: bool
) -> Plan:
    """Show the limits of GREEKS_ALERTS_FILE with their states.

    It reads the table that the service writes. With --test it sends a sample to each
    channel of GREEKS_ALERT_URLS.

    Exit status: 0 shown, or every channel took the sample, 1 the database cannot be read,
    or a channel did not take it, 2 wrong settings.
    """
    if is_test and as_json:
        raise click.UsageError("--json and --test exclude each other: remove one.")

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.alerts import send_samples, show_alerts
        from greeks_trio.commands.target import run_on_target

        if is_test:
            return run_trio(send_samples, config)
        show = partial(show_alerts, as_json=as_json)
        return run_trio(run_on_target, show, config, embedded, data_dir, True)

    return plan
