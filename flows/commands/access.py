"""API tokens: made once, shown once, kept only as a digest."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import opened, out
from models.ports import Scope

if TYPE_CHECKING:
    from models.ports import Store

SECRET_BYTES = 32  # 256 bits: a digest without salt is safe because nobody can guess what it is of

token = typer.Typer(no_args_is_help=True, help="Who may call the API.")

Name = Annotated[str, typer.Argument(help="Who it is for; one token a name.")]


@token.command()
def create(name: Name, *, scope: Annotated[Scope, typer.Option(help="operate includes read.")] = Scope.READ) -> None:
    """Make a token and print it, this once; a token of that name is replaced."""
    out.print(asyncio.run(make(name, scope)), markup=False, highlight=False)


@token.command()
def revoke(name: Name) -> None:
    """Forget a token; it opens nothing from the next call on."""
    asyncio.run(forget(name))
    out.print(f"{name} revoked", markup=False)


async def make(name: str, scope: Scope, *, store: Store | None = None) -> str:
    """Store a new token's digest and return its secret.

    Raises:
        ConfigurationInvalid: it has no name, by which it could be revoked.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above
    from models.ports import Token  # noqa: PLC0415 - as above

    if not name.strip():
        raise ConfigurationInvalid("a token needs a name", "say whom it is for, as in `x0tta6bl4 token create shop`")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    async with opened(store) as at_hand, at_hand.unit() as unit:
        await unit.tokens.add(Token(name, digest, scope, SystemClock().now()))
    return secret


async def forget(name: str, *, store: Store | None = None) -> None:
    """Revoke a token.

    Raises:
        RefusedError: there is none of that name.
    """
    from models.errors import RefusedError  # noqa: PLC0415 - `--help` needs none of it

    async with opened(store) as at_hand, at_hand.unit() as unit:
        if not await unit.tokens.revoke(name):
            raise RefusedError(f"there is no token named {name}")
