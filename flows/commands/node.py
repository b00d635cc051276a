"""Letting machines in as nodes, and out again."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flows.commands.desk import caller, opened, out, write_json
from models.mesh import NodeId

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.ports import Store

join_token = typer.Typer(no_args_is_help=True, help="Who may become a node.")
node = typer.Typer(no_args_is_help=True, help="Become a node; see who joined; take a node's credentials back.")

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """Read 90s, 30m, 1h or 2d."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise typer.BadParameter("write 90s, 30m, 1h or 2d")
    return float(found[1]) * UNITS[found[2]]


Lasts = Annotated[float, typer.Option("--for", parser=seconds_of, metavar="TIME", help="90s, 30m, 1h, 2d.")]


@join_token.command()
def create(
    *,
    name: Annotated[str | None, typer.Option("--node", help="The only name it is for; else any declared one.")] = None,
    lasts: Lasts = "1h",  # type: ignore[assignment]  # typer parses the default too
) -> None:
    """Make a token that can only join, once, and print it, this once."""
    out.print(asyncio.run(make(name, timedelta(seconds=lasts))), markup=False, highlight=False)


@node.command()
def join(
    *,
    url: Annotated[str, typer.Option(help="The gateway: https://gateway.example.")],
    token_file: Annotated[Path, typer.Option(help="The join token in a file; - reads it from standard input.")],
    name: Annotated[str, typer.Option(help="This node's name; as declared, if it is.")],
    mesh: Annotated[str | None, typer.Option(help="The mesh; default: X0_MESH.")] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where the node's files go.")] = Path("/etc/x0tta6bl4"),
    once: Annotated[
        bool, typer.Option("--once", help="Be content where it has joined already: at each start.")
    ] = False,
) -> None:
    """Make this machine a node: fetch its own credentials and write them, readable by their owner alone."""
    from infra import enrol  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from models.joining import check_name  # noqa: PLC0415 - as above

    check_name(name)
    mesh = mesh or Settings().mesh
    if once and enrol.credentials(folder, name, mesh=mesh) is not None:
        out.print(f"{name} has joined {mesh} already", markup=False)
        return
    enrol.require_room(folder, name)
    token = read_token(token_file)
    found = enrol.ask(url, token, name=name, mesh=mesh, folder=folder)
    enrol.write(found)
    for path in found.files:
        out.print(f"wrote {path}", markup=False)
    if url.startswith("http://"):
        out.print("these credentials travelled in clear text: the gateway's address is not https", markup=False)
    if not (found.has_place and found.has_key):
        what = "place" if not found.has_place else "control.pub"
        mend = "without one here it is watched and not healed"
        out.print(f"the gateway has no {what} for {name}: {mend}", markup=False)
    if not once:  # else whoever started this starts the node next
        out.print("next: systemctl enable --now x0tta6bl4-node", markup=False)


@node.command()
def expel(name: Annotated[str, typer.Argument(help="The node's name.")]) -> None:
    """Take a node's credentials back: its database role with its sessions, and its way to Prefect."""
    asyncio.run(dismiss(name))
    out.print(f"{name} expelled; what it measured stays", markup=False)


@node.command("list")
def listing(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False
) -> None:
    """Show who has joined, and when each was heard last."""
    found = asyncio.run(joined())
    if as_json:
        write_json(found)
        return
    table = Table("node", "database role", "joined", "last sample")
    for one in found:
        heard = "never" if one["heard_at"] is None else f"{one['heard_at']:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(one["node"], one["role"], f"{one['joined_at']:%Y-%m-%d %H:%M:%S} UTC", heard)
    out.print(table if found else "nobody has joined; `x0tta6bl4 join-token create` lets one in")


def read_token(file: Path) -> str:
    """Read a join token.

    Raises:
        ConfigurationInvalid: there is none in it.
    """
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - `--help` needs none of it

    try:
        token = (sys.stdin.read() if str(file) == "-" else file.read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{file} cannot be read", "name the file that holds the join token") from error
    if not token or not token.isascii() or len(token.split()) != 1:
        raise ConfigurationInvalid(f"{file} holds no join token", "`x0tta6bl4 join-token create` prints one")
    return token


async def make(
    name: str | None, lasts: timedelta, *, store: Store | None = None, settings: Settings | None = None
) -> str:
    """Store a new join token's digest and return its secret."""
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.join import Reception  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    async with opened(store) as at_hand:
        reception = Reception(at_hand, SystemClock(), settings or Settings())
        return await reception.make_token(node=name, lasts=lasts, by=caller())


async def joined(*, store: Store | None = None, settings: Settings | None = None) -> list[dict[str, Any]]:
    """Return who has joined, by name: `node`, `role`, `joined_at`, and `heard_at`, None if never."""
    from infra.settings import Settings  # noqa: PLC0415 - `--help` needs none of it

    mesh = (settings or Settings()).mesh
    async with opened(store) as at_hand, at_hand.unit() as unit:
        nodes, latest = await unit.joins.of_mesh(mesh), await unit.samples.latest(mesh)
    heard = {name: sample.at for name, sample in latest.items()}
    return [
        {"node": one.node, "role": one.role, "joined_at": one.joined_at, "heard_at": heard.get(NodeId(one.node))}
        for one in nodes
    ]


async def dismiss(name: str, *, store: Store | None = None, settings: Settings | None = None) -> None:
    """Take a node's credentials back.

    Raises:
        JoinRefused: it has none.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.join import Reception  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    async with opened(store) as at_hand:
        await Reception(at_hand, SystemClock(), settings or Settings()).expel(name)
