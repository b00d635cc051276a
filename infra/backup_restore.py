"""Restoring: what was backed up is brought back, compared with what the manifest counted, migrated, and fenced.

Nothing takes its place before all of that went well.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.backup import CLOSED_FOLDER, KEYS, Tell, Where
from infra.backup_archive import OWNER_ONLY, STATE, Manifest, dump_name, sync_folder, verify
from infra.backup_census import TABLES, broken_laws, census, connected, differences
from infra.backup_fence import fence
from infra.backup_tools import Clients, find_clients
from infra.db.cluster import APP, Cluster
from infra.db.door import at_the_door
from infra.db.migrate import migrate, missing
from infra.runfiles import only_one
from models.errors import ConfigurationInvalid, RefusedError, ToolMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

POSTGRES = "postgres"
PUBLIC = ".pub"  # what everybody may read; an actuator that is not root has to


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore or its rehearsal.

    Attributes:
        manifest: Of the backup.
        migrated: Revisions that were applied to it, oldest first.
        fenced: What the past left open and was closed, with how many rows.
        aside: What stood in the state folder before, under its new name.
    """

    manifest: Manifest
    migrated: tuple[str, ...]
    fenced: Mapping[str, int]
    aside: tuple[str, ...] = ()


async def rehearse(archive: Path, *, now: datetime, tell: Tell) -> Restored:
    """Restore into a cluster that is thrown away: shows that this backup can be restored here, by this version.

    Raises:
        RefusedError: what came back differs, or breaks a law; says in what.
        ConfigurationInvalid, ToolMissing, SourceUnavailable: as `restore`.
    """
    clients = _usable(archive)
    with _folder(None) as folder:
        manifest = verify(archive, into=folder / "parts")
        with _growing(folder) as cluster:
            return await _bring_back(
                manifest, folder / "parts", _private(manifest, cluster), clients, now=now, tell=tell
            )


async def restore(archive: Path, place: Where, *, replace: bool, now: datetime, tell: Tell) -> Restored:
    """Bring an installation back: databases into a fresh private cluster, or into empty ones elsewhere; keys; places.

    Args:
        archive: What `backup` made.
        place: Whose state folder and which databases.
        replace: Move aside what stands in the state folder; False: refuse.
        now: Of the restore.
        tell: Gets a sentence per stage.

    Raises:
        RefusedError: `up` runs here, something is here already, or what came back differs; nothing was put in place.
        ConfigurationInvalid: the archive is damaged or of a newer version.
        ToolMissing: Postgres is missing or too old for this backup.
        SourceUnavailable: a database does not answer or refused what it was given.
    """
    clients = _usable(archive)
    with _held(place.state):
        if place.cluster is not None and place.cluster.running():
            raise RefusedError(f"{place.state} has a running database without an `up`; `x0tta6bl4 down` stops it")
        standing = [one for one in (POSTGRES, *KEYS) if (place.state / one).exists()]
        if standing and not replace:
            raise RefusedError(
                f"{place.state} holds an installation ({', '.join(standing)}); choose an empty folder with --into,"
                " or have it moved aside with --replace"
            )
        with _folder(place.state) as folder:
            manifest = verify(archive, into=folder / "parts")
            urls = {name: url for name, url in place.urls.items() if name in manifest.databases}
            private = place.cluster.url if place.cluster is not None else None
            elsewhere = {name: url for name, url in urls.items() if private is None or url != private(name)}
            for name, url in elsewhere.items():
                await _require_empty(name, url)
            if place.cluster is None:
                done = await _bring_back(manifest, folder / "parts", urls, clients, now=now, tell=tell)
            else:
                with _growing(folder) as cluster:
                    urls = _private(manifest, cluster) | elsewhere
                    done = await _bring_back(manifest, folder / "parts", urls, clients, now=now, tell=tell)
            aside = _move_aside(place.state, standing, now)
            _put_in_place(folder, place.state, with_cluster=place.cluster is not None)
    return Restored(done.manifest, done.migrated, done.fenced, aside)


def _usable(archive: Path) -> Clients:
    """Check the whole archive before anything is made of it, then whether this machine and version can read it."""
    manifest = verify(archive)
    missing(manifest.databases[APP].revision)  # refuses what a newer version made
    clients = find_clients()
    if clients.major < manifest.dumped_by:
        raise ToolMissing(
            f"PostgreSQL {manifest.dumped_by} or newer, which made this backup (found is {clients.major})",
            f"apt-get install postgresql-{manifest.dumped_by}",
        )
    return clients


async def _bring_back(
    manifest: Manifest, parts: Path, urls: Mapping[str, str], clients: Clients, *, now: datetime, tell: Tell
) -> Restored:
    found: list[str] = []
    for name, was in manifest.databases.items():
        if name not in urls:
            continue
        async with connected(urls[name]) as connection:
            for role in was.roles:
                await _make_role(connection, role)
            await clients.restore(urls[name], parts / dump_name(name))
            found += differences(name, was, await census(connection))
        tell(f"{name}: {was.rows} rows of {len(was.tables)} tables are back")
    if found:
        raise RefusedError(f"what came back is not what was backed up: {'; '.join(found)}")
    steps = missing(manifest.databases[APP].revision)
    await migrate(urls[APP])
    tell(f"schema at this version's newest, {len(steps)} migrations applied")
    async with connected(urls[APP]) as connection:
        broken = await broken_laws(connection)
        if broken:
            raise RefusedError(f"the ledger came back broken: {'; '.join(broken)}")
        fenced = await fence(connection, made_at=manifest.made_at, now=now)
    return Restored(manifest, tuple(revision for revision, _ in steps), fenced)


async def _make_role(connection: asyncpg.Connection, role: str) -> None:
    """Make whom grants and policies name, without a password: a node's role is given one when the node joins anew."""
    with at_the_door():
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
            await connection.execute(
                await connection.fetchval("SELECT format('CREATE ROLE %I NOLOGIN', $1::text)", role)
            )


async def _require_empty(name: str, url: str) -> None:
    async with connected(url) as connection:
        with at_the_door():
            tables = await connection.fetch(TABLES)
    if tables:
        raise RefusedError(
            f"the {name} database of the environment has {len(tables)} tables already; make an empty one and name that"
        )


def _private(manifest: Manifest, cluster: Cluster) -> dict[str, str]:
    return {name: cluster.url(name) for name in manifest.databases}


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder that Postgres' user can pass through, with a closed one for the parts; remove it at the end.

    Raises:
        ConfigurationInvalid: it cannot be made, or has no room.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".x0-restore-", dir=parent))
        try:
            folder.chmod(0o755)
            (folder / "parts").mkdir(mode=CLOSED_FOLDER)
            yield folder
        finally:
            shutil.rmtree(folder)
    except OSError as error:
        where = parent or tempfile.gettempdir()
        raise ConfigurationInvalid(f"{where} cannot hold it ({error})", "choose a folder of yours with room") from error


@contextmanager
def _held(state: Path) -> Iterator[None]:
    """Keep `up` out of a state folder, which is made if it is not there."""
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(f"{state} cannot be made ({error})", "choose a folder of yours") from error
    with only_one(state):
        yield


@contextmanager
def _growing(folder: Path) -> Iterator[Cluster]:
    """Make and start a cluster in the folder for the body, and stop it whatever happens."""
    cluster = Cluster(folder / POSTGRES)
    cluster.create()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(cluster.sockets, ignore_errors=True)


def _move_aside(state: Path, standing: list[str], now: datetime) -> tuple[str, ...]:
    moved = {name: f"{name}.before-{now:%Y%m%dT%H%M%SZ}" for name in standing}
    for name, aside in moved.items():
        (state / name).rename(state / aside)
    return tuple(moved.values())


def _put_in_place(folder: Path, state: Path, *, with_cluster: bool) -> None:
    """Move keys and places, then the cluster: a folder with a database is a whole one."""
    kept = folder / "parts" / STATE
    for found in sorted(one for one in kept.rglob("*") if one.is_file()):
        place = state / found.relative_to(kept)
        place.parent.mkdir(parents=True, exist_ok=True)
        found.chmod(0o644 if found.suffix == PUBLIC else OWNER_ONLY)
        found.replace(place)
    if with_cluster:
        (folder / POSTGRES).rename(state / POSTGRES)
    sync_folder(state)
