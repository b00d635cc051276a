"""`x0tta6bl4 explain INCIDENT`: what caused it, in words, as a picture, and validated offline on request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import opened, out, writable

if TYPE_CHECKING:
    from models.incident import Cause
    from models.ports import IncidentStory, Store
    from models.validation import ValidationRecord

_BAR = 20


def explain(
    incident: Annotated[str, typer.Argument(help="An incident's id; `x0tta6bl4 incidents` lists them.")],
    *,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the picture to this file.")] = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Show how its dependencies stand offline tests; done now, in a minute, if not yet."
        ),
    ] = False,
) -> None:
    """Say what caused an incident, how sure that is, and why."""
    story, drawn = asyncio.run(explained(incident))
    for line in told(story):
        out.print(line, markup=False)
    if validate:
        from models.validation import told as told_of_validation  # noqa: PLC0415 - `--help` needs none of it

        for line in told_of_validation(asyncio.run(validated(incident))):
            out.print(line, markup=False)
    if svg is not None:
        writable(svg).write_text(drawn, encoding="utf-8")
        out.print(f"picture: {svg}", markup=False)


async def explained(incident: str, *, store: Store | None = None) -> tuple[IncidentStory, str]:
    """Return an incident's story and its picture as SVG.

    Raises:
        RefusedError: there is no such incident, or its mesh is declared no more.
    """
    from infra.pictures import svg  # noqa: PLC0415 - `--help` needs none of it
    from models.errors import RefusedError  # noqa: PLC0415 - as above
    from models.incident import IncidentId  # noqa: PLC0415 - as above
    from models.picture import picture_of  # noqa: PLC0415 - as above

    async with opened(store) as at_hand, at_hand.unit() as unit:
        story = await unit.incidents.story(IncidentId(incident))
        mesh = None if story is None else await unit.meshes.load(story.incident.mesh)
    if story is None or mesh is None:
        raise RefusedError(f"there is no incident {incident}; `x0tta6bl4 incidents` lists them")
    return story, svg(picture_of(story, mesh))


async def validated(incident: str, *, store: Store | None = None) -> ValidationRecord:
    """Return an incident's validation; one that was not made yet is made and kept.

    Raises:
        ConfigurationInvalid: there is no such incident.
        ToolMissing: it was not validated, and dowhy is not installed here.
    """
    from models.incident import IncidentId  # noqa: PLC0415 - `--help` needs none of it

    async with opened(store) as at_hand, at_hand.unit() as unit:
        known = await unit.validations.of(IncidentId(incident))
    if known is not None:
        return known
    from tasks.validating import validate_incident  # noqa: PLC0415 - seconds of import, only when it is worked out

    return await validate_incident(IncidentId(incident))


def told(story: IncidentStory) -> list[str]:
    """Tell the causes in lines, best first, and what decided for the best."""
    head = f"incident {story.incident.id} on {story.incident.mesh}: {story.incident.state.value}"
    if not story.diagnoses:
        return [head, "  not diagnosed yet"]
    diagnosis = story.diagnoses[-1]
    lines = [_of_cause(one) for one in diagnosis.causes]
    why = [f"  because {one.statement}" for one in diagnosis.best.evidence]
    return [head, *lines, *why, f"  diagnosed by {diagnosis.method}"]


def _of_cause(cause: Cause) -> str:
    filled = round(_BAR * cause.confidence)
    bar = "#" * filled + "." * (_BAR - filled)
    return f"  {cause.confidence:4.0%} {bar} {cause.fault.value} of {cause.element or 'no element in view'}"
