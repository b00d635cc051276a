"""`x0tta6bl4 smoke`: see that each part of a running installation does its work, from the outside."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.commands.desk import out, write_json

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.smoke.shop import Pay
    from infra.smoke.walk import Result, Step

TOKEN_VARIABLE = "X0_SMOKE_TOKEN"  # noqa: S105 - a name, no secret
# A database that is well stores two tokens in milliseconds; loading its driver takes seconds on a busy machine.
STORE_SECONDS = 20.0

TokenFile = Annotated[
    Path | None,
    typer.Option(help=f"Holds a token of scope operate; else {TOKEN_VARIABLE}, else one is made for this run."),
]
BurstTokenFile = Annotated[
    Path | None, typer.Option(help="Holds a token of scope pay that nobody else uses, for the rate limit.")
]


def smoke(
    *,
    url: Annotated[str | None, typer.Option(help="The gateway's; this machine's by default.")] = None,
    token_file: TokenFile = None,
    burst_token_file: BurstTokenFile = None,
    prefect: Annotated[str | None, typer.Option(help="Prefect's API; this installation's by default.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="A Prometheus that scrapes the nodes.")] = None,
    lab: Annotated[
        bool, typer.Option("--lab", help="Pay too, with the lab's money, and wait for the licences.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Walk through a running installation step by step; exit 0 only if no step failed."""
    import logging  # noqa: PLC0415 - `--help` needs none of it

    from infra.log import configure  # noqa: PLC0415 - as above
    from infra.scrape import own_gateway  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from infra.smoke.walk import State  # noqa: PLC0415 - as above

    configure(least=logging.ERROR)  # what goes wrong stands in the table
    settings = Settings()
    where = url or f"http://{own_gateway(settings)}"
    tokens = (_token(token_file) or os.environ.get(TOKEN_VARIABLE), _token(burst_token_file))
    results = asyncio.run(_walk(settings, where, tokens, prefect=prefect, prometheus=prometheus, lab=lab))
    if as_json:
        write_json(results)
    else:
        out.print(_table(results))
    counts = {state: sum(one.state is state for one in results) for state in State}
    sys.stderr.write(", ".join(f"{count} {state}" for state, count in counts.items()) + "\n")
    raise typer.Exit(int(counts[State.FAILED] > 0))


def _token(file: Path | None) -> str | None:
    """Read a token.

    Raises:
        ConfigurationInvalid: the file cannot be read, or is empty.
    """
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - `--help` needs none of it

    if file is None:
        return None
    mend = "write the token that `x0tta6bl4 token create` printed into it, mode 0600"
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{file} cannot be read as a token ({error})", mend) from error
    if not token:
        raise ConfigurationInvalid(f"{file} holds no token", mend)
    return token


async def _walk(
    settings: Settings,
    url: str,
    tokens: tuple[str | None, str | None],
    *,
    prefect: str | None,
    prometheus: str | None,
    lab: bool,
) -> tuple[Result, ...]:
    from flows.smoke import (  # noqa: PLC0415 - `--help` needs none of it
        SmokeRequest,
        checked_address,
        is_this_installation,
        smoke,
    )
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above

    checked_address("--url", url)
    is_ours = is_this_installation(url, settings)
    if lab and not is_ours:
        raise ConfigurationInvalid(
            f"--lab pays on the chains of this machine's lab, and {url} is not its gateway",
            "start `x0tta6bl4 up --lab` with the same X0_STATE and X0_API_PORT, or leave --lab out",
        )
    if prefect is not None:
        checked_address("--prefect", prefect)
    elif is_ours:
        prefect = f"http://127.0.0.1:{settings.prefect_port}/api"
    if prometheus is not None:
        checked_address("--prometheus", prometheus)
    async with _tokens(*tokens, make=is_ours) as (token, burst_token):
        asked = SmokeRequest(
            url=url,
            token=token,
            burst_token=burst_token,
            prefect=prefect,
            prometheus=prometheus,
            pay=_wallet(settings) if lab else None,
        )
        return await smoke(asked, settings, begun=_begun, ended=_ended)


@asynccontextmanager
async def _tokens(
    token: str | None, burst_token: str | None, *, make: bool
) -> AsyncIterator[tuple[str | None, str | None]]:
    """Give the tokens to walk with: those that are there; on the installation's own machine others, for this walk only.

    A database that does not answer gives none: the walk says so itself.
    """
    from flows.commands.access import forget  # noqa: PLC0415 - `--help` needs none of it
    from flows.commands.access import make as make_token  # noqa: PLC0415 - as above
    from models.errors import MeshError  # noqa: PLC0415 - as above
    from models.ports import Scope  # noqa: PLC0415 - as above

    name = f"smoke-{secrets.token_hex(4)}"
    made = []
    if make:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if token is None:
                    token = await make_token(name, Scope.OPERATE)
                    made.append(name)
                if burst_token is None:
                    burst_token = await make_token(f"{name}-burst", Scope.PAY)
                    made.append(f"{name}-burst")
        except (MeshError, TimeoutError) as error:
            sys.stderr.write(f"no token could be made: {str(error) or 'the database does not answer'}\n")
    try:
        yield token, burst_token
    finally:
        for one in made:
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    await forget(one)
            except (MeshError, TimeoutError) as error:
                sys.stderr.write(f"the token {one} could not be revoked ({error}): x0tta6bl4 token revoke {one}\n")


def _wallet(settings: Settings) -> Pay:
    from flows.commands.lab_pay import pay_order  # noqa: PLC0415 - `--help` needs none of it

    async def pay(order: str) -> str:
        return await pay_order(settings.state, order, amount=None, comment=None, payer="smoke")

    return pay


def _begun(step: Step) -> None:
    sys.stderr.write(f"{step.name} ...\n")


def _ended(result: Result) -> None:
    from infra.smoke.walk import State  # noqa: PLC0415 - `--help` needs none of it

    if result.state is State.FAILED:
        sys.stderr.write(f"{result.name} FAILED: {result.found}\n")


def _table(results: tuple[Result, ...]) -> Table:
    table = Table("step", "", "seconds", "found", "mend")
    for one in results:
        table.add_row(one.name, one.state.upper() if one.mend else one.state, f"{one.seconds:.1f}", one.found, one.mend)
    return table
