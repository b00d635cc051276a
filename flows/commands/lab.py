"""The mesh in network namespaces, by hand: for looking at one without anything that heals it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import out

if TYPE_CHECKING:
    from infra.lab.topology import Shape

lab = typer.Typer(no_args_is_help=True, help="A mesh of network namespaces on this machine; needs root.")

Name = Annotated[str, typer.Option(help="Up to twelve letters and digits; several labs may stand side by side.")]
Nodes = Annotated[int, typer.Option(min=2, max=64, help="How many nodes.")]
Topology = Annotated[str, typer.Option(help="ring-chord, line, grid or random-geometric.")]


@lab.command()
def up(*, name: Name = "lab", nodes: Nodes = 6, topology: Topology = "ring-chord") -> None:
    """Build a mesh, with routing daemons and nothing else, and wait until it routes."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure()
    seconds = asyncio.run(build_and_settle(name, shape_named(topology), nodes))
    out.print(f"lab {name} is up, routing settled after {seconds:.1f} s; `x0tta6bl4 lab down --name {name}` removes it")


async def build_and_settle(name: str, shape: Shape, nodes: int) -> float:
    """Build a lab and wait until each node uses its cheapest paths; return the seconds that took."""
    from infra.lab import build  # noqa: PLC0415 - `--help` needs none of it
    from infra.lab.topology import mesh  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    built = await build.up(mesh(shape, nodes, name=name), state=Settings().state)
    return await built.settled()


@lab.command()
def down(
    *, name: Annotated[str | None, typer.Option(help="Which; none: every lab of this state folder.")] = None
) -> None:
    """Remove a lab, also after a crash: namespaces, daemons, folders, and nothing else."""
    from infra.lab import build  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above

    removed = asyncio.run(build.clean(name, state=Settings().state))
    out.print(f"removed {', '.join(removed)}" if removed else "there was no lab")


def shape_named(topology: str) -> Shape:
    """Return the shape of that name.

    Raises:
        ConfigurationInvalid: there is none.
    """
    from infra.lab.topology import Shape  # noqa: PLC0415 - `--help` needs no numpy
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above

    try:
        return Shape(topology)
    except ValueError as error:
        known = ", ".join(shape.value for shape in Shape)
        raise ConfigurationInvalid(f"there is no topology {topology}", f"choose one of {known}") from error
