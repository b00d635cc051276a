"""Licences: checked offline, looked up, used for an address, taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import caller, opened, out, write_json

if TYPE_CHECKING:
    from infra.access import Access, LicenceStatus
    from infra.settings import Settings
    from models.ledger import Admission, IssuedLicence
    from models.ports import Store

licence = typer.Typer(no_args_is_help=True, help="What a paid order earns, and whom it lets in.")

Text = Annotated[str, typer.Argument(help="The licence, one line with two dots in it.")]
Address = Annotated[str, typer.Argument(help="The client's address, IPv4 or IPv6.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@licence.command()
def verify(
    text: Text,
    *,
    key: Annotated[
        Path | None, typer.Option(help="The public key, licence.pub; this machine's state folder's by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a licence with the public key alone: exit 0 when it is genuine and in its time, else 1 with the reason."""
    found = read_offline(text, key)
    if as_json:
        write_json(found)
        return
    out.print(f"genuine: {told(found)}", markup=False)


@licence.command()
def show(text: Text, *, as_json: AsJson = False) -> None:
    """Ask the ledger about a licence: until when it is good, whether it was taken back, whom it lets in."""
    found = asyncio.run(look_up(text))
    if as_json:
        write_json(found)
        return
    out.print(told(found.licence), markup=False)
    for one in found.admissions:
        how = "passes" if one.address in found.passing else "waits for"
        out.print(f"  {one.address} {how} {one.node} until {one.until:%d %b %Y %H:%M} UTC", markup=False)


@licence.command()
def activate(text: Text, address: Address) -> None:
    """Let an address through the gateway node until the licence ends; the gate follows within seconds."""
    admission = asyncio.run(let_in(text, address))
    until = f"{admission.until:%d %b %Y %H:%M} UTC"
    out.print(f"{admission.address} passes {admission.node} until {until}", markup=False)


@licence.command()
def release(text: Text, address: Address) -> None:
    """Let an address through no longer, so that another device may have its place."""
    was_in = asyncio.run(let_out(text, address))
    out.print("released" if was_in else "this licence did not let it in", markup=False)


@licence.command()
def revoke(
    licence_id: Annotated[str, typer.Argument(metavar="ID", help="The licence's id, as `licence show` tells it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with the order for ever.")],
    by: Annotated[str | None, typer.Option("--by", help="Who decides; the user who types by default.")] = None,
) -> None:
    """Take a licence back and close the gate behind everyone it let in."""
    taken_back = asyncio.run(take_back(licence_id, reason=reason, by=by or caller()))
    out.print(f"{taken_back.id} is taken back", markup=False)


def told(found: IssuedLicence) -> str:
    """Tell a licence in one line."""
    places = "device" if found.devices == 1 else "devices"
    line = f"{found.id}, plan {found.plan}, {found.devices} {places}, until {found.expires_at:%d %b %Y %H:%M} UTC"
    return line if found.revoked_at is None else f"{line}; taken back {found.revoked_at:%d %b %Y %H:%M} UTC"


def read_offline(text: str, key: Path | None) -> IssuedLicence:
    """Return what a genuine licence says that is in its time.

    Raises:
        LicenceInvalid: it is not ours.
        LicenceRefused: it has expired.
        ConfigurationInvalid: there is no such key.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.licences import PUBLIC_NAME, load_verifier  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from models.licence import require_usable  # noqa: PLC0415 - as above

    found = load_verifier(key or Settings().state / PUBLIC_NAME).read(text)
    require_usable(found, now=SystemClock().now())
    return found


async def look_up(text: str, *, store: Store | None = None, settings: Settings | None = None) -> LicenceStatus:
    """Return what the ledger says of a licence."""
    async with opened(store) as at_hand:
        return await _access(at_hand, settings).status(text)


async def let_in(text: str, address: str, *, store: Store | None = None, settings: Settings | None = None) -> Admission:
    """Activate a licence for an address."""
    async with opened(store) as at_hand:
        return await _access(at_hand, settings).activate(text, address)


async def let_out(text: str, address: str, *, store: Store | None = None, settings: Settings | None = None) -> bool:
    """Release an address; tell whether it was let in."""
    async with opened(store) as at_hand:
        return await _access(at_hand, settings).release(text, address)


async def take_back(
    licence_id: str, *, reason: str, by: str, store: Store | None = None, settings: Settings | None = None
) -> IssuedLicence:
    """Revoke a licence by its id."""
    async with opened(store) as at_hand:
        return await _access(at_hand, settings).revoke(licence_id, actor=by, reason=reason)


def _access(store: Store, settings: Settings | None) -> Access:
    """Stand at the counter with the public key: a command line writes no licences."""
    from infra.access import Access  # noqa: PLC0415 - `--help` needs none of it
    from infra.clock import SystemClock  # noqa: PLC0415 - as above
    from infra.licences import PUBLIC_NAME, load_verifier  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = settings or Settings()
    return Access(
        store,
        SystemClock(),
        licences=load_verifier(settings.state / PUBLIC_NAME),
        mesh=settings.mesh,
        gateway_node=settings.gateway_node or _gateway_of_lab(settings),
    )


def _gateway_of_lab(settings: Settings) -> str | None:
    """Return the gateway node of the lab that stands in the state folder: whoever types there need not set it."""
    from infra.lab import build, names  # noqa: PLC0415 - `--help` needs none of it

    if not (names.labs_folder(settings.state) / settings.mesh / "lab.json").exists():
        return None
    return build.load(settings.mesh, state=settings.state).gateway
