"""A backup of a database that is being written to, restored elsewhere: everything settled is there, and it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from infra import backup_archive
from infra.backup import KEYS, Where, awake, make, require_quiet, where
from infra.backup_archive import Manifest, verify
from infra.backup_census import broken_laws, connected, recorded_revision, require_nobody
from infra.backup_restore import rehearse, restore
from infra.db.cluster import Cluster
from infra.db.connections import listener_arguments
from infra.db.migrate import newest
from infra.db.unit import PostgresStore
from infra.licences import create_licence_key
from infra.node.signing import create_key
from infra.runfiles import only_one
from infra.settings import Settings
from models.errors import ConfigurationInvalid, RefusedError, ToolMissing
from models.incident import Incident, IncidentId, IncidentState
from models.payment import OrderId, OrderState
from tests.conftest import execute
from tests.contracts.ledger_examples import licence, settled
from tests.fakes.chains.examples import order

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPENED = "INSERT INTO long_runs VALUES ('watch-mesh:lab', 41, 'run', 1, 'host', '2026-01-01')"
ALLOWED = """
INSERT INTO incidents VALUES ('i1', 'lab', 'awaiting-approval', now(), NULL, '[]');
INSERT INTO remedies (plan_hash, incident, name, fault, evidence_at, remedy) VALUES ('p1', 'i1', '', '', now(), '{}');
INSERT INTO decisions VALUES ('p1', 'i1', 'approve', 'ann', now(), now() + interval '10 minutes', false);
INSERT INTO heal_requests VALUES ('r1', 'lab', false, 'cli:ann', now(), NULL);
INSERT INTO join_tokens VALUES ('digest', 'lab', NULL, 'cli:ann', now(), now() + interval '1 hour', NULL);
INSERT INTO joined_nodes VALUES ('lab', 'n7', 'x0_node_lab_gone', '1', now()), ('lab', 'n8', 'postgres', '2', now());
"""
_numbers = count()


def unheard(sentence: str) -> None:
    """Take a sentence that nobody reads."""


def leftovers(folder: Path) -> list[str]:
    """Return what work in progress a folder still holds."""
    return [one.name for one in folder.iterdir() if one.name.startswith(".x0-")]


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(**listener_arguments(url))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


@pytest.fixture
async def empty(cluster: Cluster) -> AsyncIterator[Callable[[], str]]:
    """Make addresses of databases with nothing in them."""
    names: list[str] = [f"empty_{next(_numbers)}" for _ in range(2)]
    for name in names:
        await execute(cluster.prefect_url, f"CREATE DATABASE {name}")
    free = iter(names)
    yield lambda: cluster.url(next(free))
    for name in names:
        await execute(cluster.prefect_url, f"DROP DATABASE {name} WITH (FORCE)")


def elsewhere(state: Path, url: str) -> Where:
    """Return an installation whose only database is on a server that is somebody else's."""
    state.mkdir(exist_ok=True)
    return Where(state, "lab", None, {"app": url})


async def backed_up(state: Path, url: str, target: Path) -> Manifest:
    return await make(elsewhere(state, url), target, version="0.1.0", now=NOW, tell=unheard)


def told_otherwise(archive: Path, **changes: object) -> Path:
    """Return the same backup with a manifest that says something else of its app database."""
    parts = archive.with_name("parts")
    manifest = verify(archive, into=parts)
    databases = {"app": manifest.databases["app"].model_copy(update=changes)}
    lying = archive.with_name("lying.tar")
    files = {name: parts / name for name in manifest.parts}
    backup_archive.write(lying, manifest.model_copy(update={"databases": databases}), files, workspace=parts)
    return lying


async def sell(store: PostgresStore, number: int) -> OrderId:
    """Settle an order with its licence and write an incident, as three units of work do."""
    one = await settled(store, order(29_000_000 + number, name=f"o{number}"))
    async with store.unit() as unit:
        await unit.licences.issue(licence(f"lic-o{number}", of=f"o{number}"))
        opened = Incident(IncidentId(f"i{number}"), "lab", IncidentState.OPEN, NOW, ())
        await unit.incidents.save(opened)
    return one.id


@pytest.mark.postgres
async def test_what_was_settled_before_a_backup_under_load_is_there_elsewhere_and_it_goes_on(
    database: str, open_folder: Path
):
    store, numbers, done = PostgresStore(database), count(), list[OrderId]()

    async def till() -> None:
        while True:
            done.append(await sell(store, next(numbers)))

    create_key(open_folder / "old")
    create_licence_key(open_folder / "old")
    tills = [asyncio.create_task(till()) for _ in range(4)]
    while len(done) < 20:  # noqa: ASYNC110 - the tills work on, and tell nobody how far they are
        await asyncio.sleep(0.01)
    before = list(done)
    manifest = await backed_up(open_folder / "old", database, open_folder / "b.tar")
    during = len(done)
    for one in tills:
        one.cancel()
    await asyncio.gather(*tills, return_exceptions=True)
    await store.close()

    state = open_folder / "new"
    place = where(Settings(state=state, mesh="lab").model_copy(update={"database_url": None}), None)
    restored = await restore(open_folder / "b.tar", place, replace=False, now=NOW, tell=unheard)

    assert restored.manifest == manifest
    assert [(state / one).read_bytes() for one in KEYS] == [(open_folder / "old" / one).read_bytes() for one in KEYS]
    assert [(state / one).stat().st_mode & 0o777 for one in KEYS] == [0o600, 0o644, 0o600, 0o644]
    with awake(place):
        store = PostgresStore(place.urls["app"])
        async with store.unit() as unit:
            found = [await unit.ledger.sale(one) for one in before]
            incidents = [await unit.incidents.get(IncidentId(f"i{one[1:]}")) for one in before]
        assert all(one is not None and one.order.state is OrderState.SETTLED for one in found)
        assert all(incidents)
        settled_then = await ask(place.urls["app"], "SELECT count(*) FROM orders WHERE state = 'SETTLED'")
        assert settled_then == manifest.databases["app"].facts["orders settled"]
        # Nothing that began after the snapshot: what was written while the dump ran is not half in it.
        assert len(before) <= manifest.databases["app"].facts["licences"] <= during + len(tills)
        assert await sell(store, 1_000_000) == OrderId("o1000000")
        await store.close()
        async with connected(place.urls["app"]) as connection:
            assert await broken_laws(connection) == []
    assert place.cluster is not None
    assert not place.cluster.running()
    with pytest.raises(RefusedError, match="holds an installation"):
        await restore(open_folder / "b.tar", place, replace=False, now=NOW, tell=unheard)
    again = await restore(open_folder / "b.tar", place, replace=True, now=NOW, tell=unheard)
    assert [one.partition(".before-")[0] for one in again.aside] == ["postgres", *KEYS]
    assert all((state / one).exists() for one in again.aside)
    assert not leftovers(state)


@pytest.mark.postgres
async def test_a_rehearsal_says_in_what_a_backup_differs_and_leaves_nothing(
    database: str, open_folder: Path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    await execute(database, "INSERT INTO tokens VALUES ('shop', 'digest', 'pay', now())")
    manifest = await backed_up(open_folder / "state", database, open_folder / "b.tar")
    tables = dict(manifest.databases["app"].tables)
    tables["tokens"] = tables["tokens"].model_copy(update={"rows": 2})
    lying = told_otherwise(open_folder / "b.tar", tables=tables)
    with pytest.raises(RefusedError, match="app: tokens had 2 rows and has 1"):
        await rehearse(lying, now=NOW, tell=unheard)
    assert not leftovers(open_folder)


@pytest.mark.postgres
async def test_what_was_open_at_the_backup_is_closed_by_the_restore(
    database: str, empty: Callable[[], str], tmp_path: Path
):
    await execute(database, OPENED)
    await execute(database, ALLOWED)
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    url = empty()
    later = NOW + timedelta(days=1)
    done = await restore(tmp_path / "b.tar", elsewhere(tmp_path / "new", url), replace=False, now=later, tell=unheard)
    assert done.fenced == {
        "epochs raised": 1,
        "approvals used up": 1,
        "requests to heal refused": 1,
        "join tokens spent": 1,
        "nodes that must join anew": 1,
    }
    assert await ask(url, "SELECT node FROM joined_nodes") == "n8"
    assert await ask(url, "SELECT used_by FROM join_tokens") == "the restore"
    assert await ask(url, "SELECT epoch FROM long_runs") == int(later.timestamp())
    assert await ask(url, "SELECT used FROM decisions")
    assert str(await ask(url, "SELECT outcome FROM heal_requests")).startswith("refused")
    assert await ask(url, "SELECT detail FROM audit WHERE what = 'restored'") == "as of 2026-11-22T12:00:00+00:00"


@pytest.mark.postgres
async def test_an_epoch_that_is_ahead_of_the_clock_is_raised_all_the_same(
    database: str, empty: Callable[[], str], tmp_path: Path
):
    await execute(database, OPENED.replace("41", "99999999999"))
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    url = empty()
    await restore(tmp_path / "b.tar", elsewhere(tmp_path / "new", url), replace=False, now=NOW, tell=unheard)
    assert await ask(url, "SELECT epoch FROM long_runs") == 100_000_000_000


@pytest.mark.postgres
async def test_a_database_that_holds_something_is_not_restored_into(database: str, tmp_path: Path):
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    with pytest.raises(RefusedError, match=r"the app database of the environment has \d+ tables already"):
        await restore(tmp_path / "b.tar", elsewhere(tmp_path / "new", database), replace=True, now=NOW, tell=unheard)


@pytest.mark.postgres
async def test_roles_that_grants_name_are_made_without_a_password(
    cluster: Cluster, database: str, empty: Callable[[], str], tmp_path: Path
):
    await execute(database, "CREATE ROLE x0_tried")
    try:
        await execute(database, "GRANT SELECT ON meshes TO x0_tried")
        manifest = await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
        assert "x0_tried" in manifest.databases["app"].roles
        await execute(database, "DROP OWNED BY x0_tried; DROP ROLE x0_tried")
        url = empty()
        await restore(tmp_path / "b.tar", elsewhere(tmp_path / "new", url), replace=False, now=NOW, tell=unheard)
        assert await ask(url, "SELECT has_table_privilege('x0_tried', 'meshes', 'SELECT')")
        assert not await ask(url, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'x0_tried'")
        await execute(url, "DROP OWNED BY x0_tried")
    finally:
        await execute(cluster.prefect_url, "DROP ROLE IF EXISTS x0_tried")


@pytest.mark.postgres
async def test_a_backup_of_a_newer_version_or_by_a_newer_pg_dump_is_refused_before_anything_is_made(
    database: str, tmp_path: Path
):
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    newer = told_otherwise(tmp_path / "b.tar", revision="9999")
    place = elsewhere(tmp_path / "new", database)
    with pytest.raises(ConfigurationInvalid, match=f"at revision 9999, and this version knows none after {newest()}"):
        await restore(newer, place, replace=False, now=NOW, tell=unheard)
    parts = tmp_path / "again"
    manifest = verify(tmp_path / "b.tar", into=parts)
    files = {name: parts / name for name in manifest.parts}
    ahead = manifest.model_copy(update={"dumped_by": 99})
    backup_archive.write(tmp_path / "ahead.tar", ahead, files, workspace=parts)
    with pytest.raises(ToolMissing, match="PostgreSQL 99 or newer, which made this backup"):
        await restore(tmp_path / "ahead.tar", place, replace=False, now=NOW, tell=unheard)


@pytest.mark.postgres
async def test_a_restore_on_a_running_installation_is_refused(database: str, tmp_path: Path):
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    with only_one(tmp_path / "new"), pytest.raises(RefusedError, match="`x0tta6bl4 up` runs already"):
        await restore(tmp_path / "b.tar", elsewhere(tmp_path / "new", database), replace=True, now=NOW, tell=unheard)


@pytest.mark.postgres
async def test_an_installation_that_still_works_elsewhere_is_not_upgraded(database: str):
    await execute(database, OPENED)
    assert await recorded_revision(database) == newest()
    await require_nobody(database, now=NOW)
    with pytest.raises(RefusedError, match="watch-mesh:lab worked with this database within 10 seconds"):
        await require_nobody(database, now=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))


def test_an_installation_that_is_up_is_not_upgraded(tmp_path: Path):
    place = elsewhere(tmp_path / "state", "postgresql+asyncpg://db.example/app")
    require_quiet(place)
    with only_one(place.state), pytest.raises(RefusedError, match="`x0tta6bl4 down` first"):
        require_quiet(place)


async def test_a_backup_that_is_there_is_not_overwritten(tmp_path: Path):
    (tmp_path / "b.tar").write_text("somebody's")
    with pytest.raises(RefusedError, match="is not overwritten"):
        await backed_up(tmp_path / "state", "postgresql+asyncpg://db.example/app", tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "somebody's"


async def test_a_folder_that_is_not_there_is_named(programs: Path, tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="nothing can be written to"):
        await backed_up(tmp_path / "state", "postgresql+asyncpg://db.example/app", tmp_path / "none" / "b.tar")


@pytest.mark.postgres
async def test_a_backup_that_fails_leaves_nothing_behind(database: str, tmp_path: Path):
    place = elsewhere(tmp_path / "state", database)
    wrong = replace(place, urls={"app": database, "prefect": database.replace("/test_", "/nothing_")})
    with pytest.raises(ConfigurationInvalid, match="does not let us in"):
        await make(wrong, tmp_path / "b.tar", version="0.1.0", now=NOW, tell=unheard)
    assert not leftovers(tmp_path)
    assert not (tmp_path / "b.tar").exists()


def test_databases_are_found_as_up_finds_them(tmp_path: Path, monkeypatch):
    theirs = "postgresql+asyncpg://db.example/app"
    monkeypatch.delenv("DATABASE_URL", raising=False)
    private = where(Settings(state=tmp_path), None)
    assert private.cluster is not None
    assert private.urls == {"app": private.cluster.app_url, "prefect": private.cluster.prefect_url}
    monkeypatch.setenv("DATABASE_URL", theirs)
    mixed = where(Settings(state=tmp_path), None)
    assert mixed.cluster is not None
    assert mixed.urls == {"app": theirs, "prefect": mixed.cluster.prefect_url}
    assert where(Settings(state=tmp_path), theirs).cluster is None
    assert where(Settings(state=tmp_path), None, with_prefect=False).urls == {"app": theirs}
    with pytest.raises(ConfigurationInvalid, match="PREFECT_API_DATABASE_CONNECTION_URL is for sqlite"):
        where(Settings(state=tmp_path), "sqlite+aiosqlite:///prefect.db")


def test_a_state_folder_without_a_database_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ConfigurationInvalid, match="holds no database; choose another with X0_STATE"):
        awake(where(Settings(state=tmp_path), None)).__enter__()
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://db.example/app")
    with pytest.raises(ConfigurationInvalid, match="leave it out with --without-prefect"):
        awake(where(Settings(state=tmp_path), None)).__enter__()


@pytest.mark.postgres
async def test_a_state_folder_that_cannot_be_made_is_named(database: str, tmp_path: Path):
    await backed_up(tmp_path / "old", database, tmp_path / "b.tar")
    (tmp_path / "file").write_text("in the way")
    place = Where(tmp_path / "file" / "state", "lab", None, {"app": database})
    with pytest.raises(ConfigurationInvalid, match="choose a folder of yours"):
        await restore(tmp_path / "b.tar", place, replace=False, now=NOW, tell=unheard)
