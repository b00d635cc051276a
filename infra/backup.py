"""Making a backup: each database as of one moment, the keys and the nodes' places, in one file.

What a node remembers of its own orders is not in it: it is true of that node now and of no other time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from infra import backup_archive
from infra.backup_archive import STATE, Manifest, dump_name, part_of
from infra.backup_census import DatabaseCensus, census, connected, hold_still
from infra.backup_tools import Clients, find_clients
from infra.db.cluster import APP, PREFECT, Cluster, cluster_folder
from infra.db.connections import parsed
from infra.licences import PRIVATE_NAME as LICENCE_KEY
from infra.licences import PUBLIC_NAME as LICENCE_PUBLIC
from infra.node.signing import PRIVATE_NAME as CONTROL_KEY
from infra.node.signing import PUBLIC_NAME as CONTROL_PUBLIC
from infra.runfiles import lock_holder, only_one
from infra.settings import Settings
from models.errors import ConfigurationInvalid, RefusedError

KEYS = (CONTROL_KEY, CONTROL_PUBLIC, LICENCE_KEY, LICENCE_PUBLIC)
PLACES = ("node/node.json", "lab/*/*/node.json")
PREFECT_URL = "PREFECT_API_DATABASE_CONNECTION_URL"
CLOSED_FOLDER = 0o700

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Where:
    """Where an installation keeps what must not be lost.

    Attributes:
        state: Its state folder.
        mesh: Its mesh's name.
        cluster: The private cluster; None: both databases are somebody else's, or Prefect's is left out.
        urls: `app` and `prefect`, each an address; one that is left out is missing.
    """

    state: Path
    mesh: str
    cluster: Cluster | None
    urls: dict[str, str]


def where(settings: Settings, prefect_url: str | None, *, with_prefect: bool = True) -> Where:
    """Find the databases as `up` does: those of the environment, else those of the private cluster.

    Args:
        settings: As read.
        prefect_url: What PREFECT_API_DATABASE_CONNECTION_URL says.
        with_prefect: False where Prefect's database is somebody else's to keep.

    Raises:
        ConfigurationInvalid: an address is none.
    """
    given = {} if settings.database_url is None else {APP: settings.database_url.get_secret_value()}
    if prefect_url is not None:
        given[PREFECT] = prefect_url
    for name, url in given.items():
        try:
            parsed(url)
        except ConfigurationInvalid as error:
            named = str(error).replace("DATABASE_URL", "DATABASE_URL" if name == APP else PREFECT_URL)
            raise ConfigurationInvalid(named.removesuffix(f"; {error.mend}"), error.mend) from None
    private = Cluster(cluster_folder(settings))
    names = (APP, PREFECT) if with_prefect else (APP,)
    urls = {name: given.get(name) or private.url(name) for name in names}
    is_elsewhere = all(name in given for name in names)
    return Where(settings.state, settings.mesh, None if is_elsewhere else private, urls)


@contextmanager
def awake(place: Where) -> Iterator[None]:
    """Have the private cluster answer for the body; one that was stopped is stopped again, and `up` kept out meanwhile.

    Raises:
        ConfigurationInvalid: there is no private cluster, and the environment names no other database.
        RefusedError: `up` is starting or stopping on this state folder.
    """
    cluster = place.cluster
    if cluster is None or cluster.running():
        yield
        return
    if not (cluster.data / "PG_VERSION").exists():
        mend = f"choose another with X0_STATE, or name the databases in DATABASE_URL and {PREFECT_URL}"
        if place.urls[APP] != cluster.app_url:
            mend = f"name Prefect's database in {PREFECT_URL}, or leave it out with --without-prefect"
        raise ConfigurationInvalid(f"{place.state} holds no database", mend)
    with only_one(place.state):
        cluster.start()
        try:
            yield
        finally:
            cluster.stop()


def require_quiet(place: Where) -> None:
    """Refuse an installation that is up on this machine.

    Raises:
        RefusedError: it is.
    """
    if lock_holder(place.state) is not None or (place.cluster is not None and place.cluster.running()):
        raise RefusedError(f"an installation is up on {place.state}; stop it with `x0tta6bl4 down` first")


async def make(place: Where, target: Path, *, version: str, now: datetime, tell: Tell) -> Manifest:
    """Make a backup of an installation, running or not, and put it in place once it is whole.

    It takes the dumps' size of free space twice, beside the target.

    Args:
        place: Whose.
        target: The file to make.
        version: Of this program, for the manifest.
        now: For the manifest.
        tell: Gets a sentence per stage.

    Raises:
        RefusedError: the target is there already.
        ConfigurationInvalid: the target's folder is not there or closed to us, or a database does not let us in.
        SourceUnavailable: a database does not answer.
        ToolMissing: no pg_dump, or an older one than the server.
    """
    if target.exists():  # noqa: ASYNC240 - one look, in a command that has nothing else to do
        raise RefusedError(f"{target} is there already and is not overwritten; choose another name")
    clients = find_clients()
    with workspace(target.parent) as folder:
        files: dict[str, Path] = {}
        databases = {}
        for name, url in place.urls.items():
            tell(f"{name}: dumping")
            files[dump_name(name)] = folder / dump_name(name)
            databases[name] = await _dumped(clients, url, files[dump_name(name)])
            size = files[dump_name(name)].stat().st_size / 1e6
            tell(f"{name}: {databases[name].rows} rows of {len(databases[name].tables)} tables, {size:.1f} MB")
        kept, absent = _files(place.state)
        files |= kept
        manifest = Manifest(
            version=version,
            made_at=now,
            mesh=place.mesh,
            dumped_by=clients.major,
            databases=databases,
            parts={name: await asyncio.to_thread(part_of, path) for name, path in files.items()},
            absent=absent,
        )
        await asyncio.to_thread(backup_archive.write, target, manifest, files, workspace=folder)
    return manifest


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """Make a folder that only we can look into, and remove it with all it holds.

    Raises:
        ConfigurationInvalid: nothing can be made there.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".x0-backup-", dir=parent))
    except OSError as error:
        raise ConfigurationInvalid(f"nothing can be written to {parent} ({error})", "choose another folder") from error
    try:
        yield folder
    except OSError as error:
        raise ConfigurationInvalid(
            f"{parent} cannot hold it ({error})", "choose a folder of yours with room"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _dumped(clients: Clients, url: str, into: Path) -> DatabaseCensus:
    async with connected(url) as connection:
        clients.require_for(connection.get_server_version().major)
        snapshot = await hold_still(connection)
        await clients.dump(url, into, snapshot=snapshot)
        return await census(connection)


def _files(state: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return what is kept of the state folder, by its name in the archive, and which of the keys are not there."""
    places = (found for pattern in PLACES for found in sorted(state.glob(pattern)))
    kept = {f"{STATE}{name}": state / name for name in KEYS if (state / name).is_file()}
    kept |= {f"{STATE}{one.relative_to(state)}": one for one in places}
    return kept, tuple(name for name in KEYS if f"{STATE}{name}" not in kept)
