"""The private cluster: made once, found again, alive after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from infra.db import cluster as module
from infra.db.cluster import Cluster, cluster_folder, database_url, find_programs
from infra.db.connections import listener_arguments
from infra.settings import Settings
from models.errors import ConfigurationInvalid, ToolMissing


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(**listener_arguments(url))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def in_foreground(cluster: Cluster) -> subprocess.Popen[bytes]:
    return subprocess.Popen(cluster.foreground_command(), stderr=subprocess.DEVNULL)


def wait_until_ready(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    while not cluster.ready():
        assert process.poll() is None, "the server ended instead of becoming ready"


def postmaster(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])


def test_a_configured_database_goes_before_the_private_one(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    private = Settings(state=tmp_path)
    assert database_url(private) == Cluster(cluster_folder(private)).app_url
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://db.example/app")
    assert database_url(Settings(state=tmp_path)) == "postgresql+asyncpg://db.example/app"


def test_missing_programs_are_named_with_the_command_that_brings_them(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "DEBIAN_PROGRAMS", tmp_path)
    with pytest.raises(ToolMissing, match="apt-get install postgresql"):
        find_programs()


def test_the_newest_packaged_version_is_taken_unless_a_cluster_wants_its_own(monkeypatch, tmp_path: Path):
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for program in module.PROGRAMS:
            (tmp_path / version / "bin" / program).touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "DEBIAN_PROGRAMS", tmp_path)
    assert find_programs() == tmp_path / "17" / "bin"
    assert find_programs("15") == tmp_path / "15" / "bin"
    with pytest.raises(ToolMissing, match="postgresql-16"):
        find_programs("16")


def test_a_socket_path_is_short_however_long_the_state_folder_is(tmp_path: Path):
    deep = tmp_path / ("long" * 40)
    sockets = Cluster(deep).sockets
    assert len(str(sockets / module.SOCKET_NAME)) <= module.SOCKET_PATH_LIMIT
    assert sockets == Cluster(deep).sockets
    assert sockets != Cluster(deep / "other").sockets


@pytest.fixture(scope="module")
def spare(programs: Path) -> Iterator[Cluster]:
    """A stopped cluster of this module's own, in a folder too deep for a socket, made after a half-made one."""
    folder = Path(tempfile.mkdtemp(prefix="x0-db-"))
    folder.chmod(0o755)
    cluster = Cluster(folder / ("deep" * 25) / "postgres")
    half_made = cluster.folder / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("15\n")
    cluster.create()
    yield cluster
    cluster.stop_orphan()
    shutil.rmtree(folder)
    shutil.rmtree(cluster.sockets)


@pytest.mark.postgres
class TestCluster:
    async def test_both_databases_exist_and_prefect_has_its_extension(self, cluster: Cluster):
        assert cluster.ready()
        assert await ask(cluster.app_url, "SELECT current_database()") == "app"
        extensions = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'"
        assert await ask(cluster.prefect_url, extensions) == 1
        assert await ask(cluster.app_url, "SHOW listen_addresses") == ""
        assert await ask(cluster.app_url, "SHOW fsync") == "on"
        assert await ask(cluster.app_url, "SHOW max_connections") == "200"

    async def test_creating_starting_and_stopping_twice_equals_once(self, spare: Cluster):
        spare.create()
        assert not spare.running()
        spare.start()
        spare.start()
        try:
            assert spare.running()
            assert await ask(spare.app_url, "SELECT 1") == 1
        finally:
            spare.stop()
            spare.stop()
        assert not spare.running()
        assert not spare.ready()
        assert not spare.stop_orphan()

    def test_a_creation_that_was_cut_short_was_begun_again(self, spare: Cluster):
        assert (spare.data / "global").exists()
        assert not (spare.folder / "data.new").exists()

    async def test_the_foreground_process_is_the_server_and_comes_back_after_a_kill(self, spare: Cluster):
        first = in_foreground(spare)
        try:
            wait_until_ready(spare, first)
            assert postmaster(spare) == first.pid
            await ask(spare.app_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        finally:
            first.kill()
            first.wait()
        second = in_foreground(spare)
        try:
            wait_until_ready(spare, second)
            assert await ask(spare.app_url, "SELECT answer FROM kept") == 42
        finally:
            second.send_signal(signal.SIGINT)
            second.wait()
        assert not spare.running()

    def test_an_orphan_is_stopped(self, spare: Cluster):
        orphan = in_foreground(spare)
        try:
            wait_until_ready(spare, orphan)
            assert Cluster(spare.folder).stop_orphan()
        finally:
            orphan.kill()
            orphan.wait()
        assert not spare.running()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
    def test_a_folder_closed_to_the_servers_user_is_named_with_the_mend(self, open_folder: Path):
        (open_folder / "closed").mkdir(mode=0o700)
        with pytest.raises(ConfigurationInvalid, match="X0_STATE"):
            Cluster(open_folder / "closed" / "postgres").create()
