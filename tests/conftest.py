"""For all tests: one private cluster a session, one database a test, and logs that no test sets up for another."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import structlog
from xdist.remote import Producer

from infra.db.cluster import Cluster, find_programs
from infra.db.connections import listener_arguments
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore
from models.errors import ToolMissing
from tests.scratch import scratch
from tests.sharing import Dealer, in_order

_numbers = count()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the files of tests, import only those that may hold a whole-system test where nothing else is asked for."""
    is_of_no_use = (
        config.option.markexpr == "e2e"
        and collection_path.name.startswith("test_")
        and collection_path.is_file()
        and "e2e" not in collection_path.read_text()
    )
    return True if is_of_no_use else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order what chance has shuffled as far as its sharing needs it."""
    items[:] = in_order(items, side_by_side=hasattr(config, "workerinput"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Dealer | None:
    """Deal out file by file in our own way."""
    return Dealer(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets logs up for that test alone."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def programs() -> Path:
    """The system's Postgres, or a skip that says how to get it."""
    try:
        return find_programs()
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def open_folder(programs: Path) -> Iterator[Path]:
    """A folder that Postgres' own user can reach (pytest's tmp_path is closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="x0-db-", dir=scratch()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster(programs: Path) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="x0-db-", dir=scratch()))
    folder.chmod(0o755)
    cluster = Cluster(folder / "postgres")
    try:
        cluster.create()
        cluster.start()
        asyncio.run(migrate(cluster.app_url))
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


async def execute(url: str, statement: str) -> None:
    """Run one statement outside everything of ours."""
    connection = await asyncpg.connect(**listener_arguments(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    """The address of a fresh, migrated database."""
    name = f"test_{next(_numbers)}"
    await execute(cluster.prefect_url, f"CREATE DATABASE {name} TEMPLATE app")
    yield cluster.url(name)
    await execute(cluster.prefect_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def postgres_store(database: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database)
    yield store
    await store.close()
