"""Keeping what must not be lost: backups, restoring them, and the step to a newer schema."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.commands.desk import out, write_json

if TYPE_CHECKING:
    from datetime import datetime

    from infra.backup import Where
    from infra.backup_archive import Manifest
    from infra.backup_restore import Restored
    from infra.settings import Settings

WARNING = "it holds the secret keys and every customer: keep it where nobody else can read it"
BACKUPS = "backups"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output; progress goes beside it.")]
WithoutPrefect = Annotated[
    bool, typer.Option("--without-prefect", help="Leave Prefect's database out: its past runs, nothing of ours.")
]


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A file to make, or a folder to make one in.")],
    *,
    without_prefect: WithoutPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Write databases, keys and places into one file; the installation may go on running."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above

    configure()
    settings = Settings()
    now = _now()
    file = _file_in(target, settings, now)
    manifest = asyncio.run(back_up(settings, file, now=now, with_prefect=not without_prefect))
    if as_json:
        write_json({"file": str(file), "bytes": file.stat().st_size, "manifest": manifest})
        return
    app = manifest.databases["app"]
    table = Table("what", "how many")
    for said, number in (*app.facts.items(), *((f"{one} rows", db.rows) for one, db in manifest.databases.items())):
        table.add_row(said, str(number))
    out.print(table)
    for name in manifest.absent:
        out.print(f"not in it, for it is not in {settings.state}: {name}", markup=False)
    out.print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, of {app.taken_at:%d %b %Y %H:%M:%S} UTC", markup=False)
    out.print(f"{WARNING}; try it with `x0tta6bl4 restore {file} --rehearse`", markup=False)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` made.")],
    *,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Restore into a database that is thrown away, and compare.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="STATE", help="A state folder, with a private database whatever DATABASE_URL says."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move aside what stands in the state folder; nothing is deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back, compared row by row; exit 1 with the difference when it is not what was backed up."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure()
    done = asyncio.run(
        rehearsed(file)
        if rehearse
        else brought_back(file, into=None if into is None else into.absolute(), replace=replace)
    )
    if as_json:
        write_json({"rehearsed": rehearse, "restored": done})
        return
    _show(done)
    if rehearse:
        out.print("rehearsed: every row came back, every law of the ledger holds; nothing was kept", markup=False)
        return
    for name in done.aside:
        out.print(f"moved aside: {name}", markup=False)
    out.print(
        'restored; what happened after the backup is not in it: read "Restore" in docs/operations.md', markup=False
    )


def upgrade(
    *,
    to: Annotated[
        Path | None,
        typer.Option("--backup", metavar="FILE|DIR", help="The backup before it; in the state folder else."),
    ] = None,
    without_prefect: WithoutPrefect = False,
) -> None:
    """Back up, then bring the database to this version's schema; there is no way back but the backup."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure()
    asyncio.run(upgraded(to, with_prefect=not without_prefect))


async def back_up(settings: Settings, file: Path, *, now: datetime, with_prefect: bool = True) -> Manifest:
    """Make a backup of the installation of these settings."""
    from infra.backup import awake, where  # noqa: PLC0415 - `--help` needs none of it

    place = where(settings, _prefect_url(), with_prefect=with_prefect)
    with awake(place):
        return await _made(place, file, now)


async def rehearsed(file: Path) -> Restored:
    """Restore into a cluster that is thrown away."""
    from infra import backup_restore  # noqa: PLC0415 - `--help` needs none of it

    return await backup_restore.rehearse(file, now=_now(), tell=_tell)


async def brought_back(file: Path, *, into: Path | None, replace: bool) -> Restored:
    """Restore for good."""
    from infra import backup_restore  # noqa: PLC0415 - `--help` needs none of it
    from infra.backup import where  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings()
    if into is not None:
        place = where(settings.model_copy(update={"state": into, "database_url": None}), None)
    else:
        place = where(settings, _prefect_url())
    return await backup_restore.restore(file, place, replace=replace, now=_now(), tell=_tell)


async def upgraded(to: Path | None, *, with_prefect: bool) -> None:
    """Upgrade the installation of this machine's settings, which must be down.

    Raises:
        RefusedError: it is up.
        ConfigurationInvalid: a newer version migrated it already.
    """
    from infra.backup import awake, require_quiet, where  # noqa: PLC0415 - `--help` needs none of it
    from infra.backup_census import recorded_revision, require_nobody  # noqa: PLC0415 - as above
    from infra.db.migrate import migrate, missing, newest  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings()
    place = where(settings, _prefect_url(), with_prefect=with_prefect)
    app = place.urls["app"]
    now = _now()
    require_quiet(place)
    with awake(place):
        if place.cluster is None or app != place.cluster.app_url:
            await require_nobody(app, now=now)  # a private one was down, so nobody can have it
        before = await recorded_revision(app)
        steps = missing(before)
        if not steps:
            out.print(f"nothing to do: the database is at {before}, this version's newest", markup=False)
            return
        file = _file_in(to or _own_folder(settings.state), settings, now)
        await _made(place, file, now)
        out.print(f"backup: {file}; {WARNING}", markup=False)
        await migrate(app)
    for revision, what in steps:
        out.print(f"{revision}  {what.splitlines()[0]}", markup=False)
    out.print(f"from {before or 'empty'} to {newest()}; Prefect migrates its own database when it starts", markup=False)
    out.print("to go back: install the version before, then", markup=False)
    out.print(f"  x0tta6bl4 down; x0tta6bl4 restore {file} --replace", markup=False)


async def _made(place: Where, file: Path, now: datetime) -> Manifest:
    from importlib.metadata import version  # noqa: PLC0415 - `--help` needs none of it

    from infra.backup import make  # noqa: PLC0415 - as above

    return await make(place, file, version=version("x0tta6bl4"), now=now, tell=_tell)


def _show(done: Restored) -> None:
    table = Table("database", "table", "rows")
    for name, one in done.manifest.databases.items():
        for which, counted in one.tables.items():
            if counted.rows:
                table.add_row(name, which, str(counted.rows))
    out.print(table)
    facts = [*done.manifest.databases["app"].facts.items(), *done.fenced.items()]
    for said, number in facts:
        out.print(f"{said}: {number}", markup=False)
    if done.migrated:
        out.print(f"migrated: {', '.join(done.migrated)}", markup=False)


def _file_in(target: Path, settings: Settings, now: datetime) -> Path:
    target = target.absolute()
    return target / f"x0tta6bl4-{settings.mesh}-{now:%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target


def _own_folder(state: Path) -> Path:
    folder = state / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _now() -> datetime:
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it

    return SystemClock().now()


def _prefect_url() -> str | None:
    return os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL")


def _tell(sentence: str) -> None:
    """Say how far it is beside what is asked for, so that `--json` stays one document."""
    sys.stderr.write(f"{sentence}\n")
