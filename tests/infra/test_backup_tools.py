"""pg_dump and pg_restore: found, refused when too old, and told the address where nobody else can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import backup_tools
from infra.backup_tools import Clients, environment, find_clients
from models.errors import SourceUnavailable, ToolMissing

URL = "postgresql+asyncpg://keeper:s3cr%40t@db.example:5433/app?ssl=require"
TALKING = """#!/bin/sh
echo "$@" > {folder}/said
env >> {folder}/said
exit {code}
"""


def programs(folder: Path, *, says: str = "pg_dump (PostgreSQL) 15.4", code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in backup_tools.PROGRAMS:
        content = TALKING.format(folder=folder, code=code)
        (folder / name).write_text(content.replace("exit", f'test "$1" = --version && echo "{says}"\nexit'))
        (folder / name).chmod(0o755)
    return folder


def test_without_the_programs_the_package_is_named(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(backup_tools, "DEBIAN_PROGRAMS", tmp_path)
    with pytest.raises(ToolMissing, match="apt-get install postgresql-client"):
        find_clients()


def test_the_newest_of_several_versions_is_taken(monkeypatch, tmp_path: Path):
    for version in ("9.6", "15", "17"):
        programs(tmp_path / version / "bin", says=f"pg_dump (PostgreSQL) {version}.1")
    monkeypatch.setattr(backup_tools, "DEBIAN_PROGRAMS", tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = find_clients()
    assert (found.major, found.folder) == (17, tmp_path / "17" / "bin")


def test_a_server_that_is_newer_than_pg_dump_names_the_version_to_install(tmp_path: Path):
    Clients(tmp_path, 15).require_for(15)
    Clients(tmp_path, 17).require_for(15)
    with pytest.raises(ToolMissing, match=r"pg_dump of PostgreSQL 18 or newer .*postgresql-client-18"):
        Clients(tmp_path, 15).require_for(18)


async def test_the_password_is_in_the_environment_and_in_no_argument(tmp_path: Path):
    clients = Clients(programs(tmp_path / "bin"), 15)
    for run in (clients.dump(URL, tmp_path / "dump", snapshot="1"), clients.restore(URL, tmp_path / "dump")):
        await run
        arguments, *env = (tmp_path / "bin" / "said").read_text().splitlines()
        assert "s3cr" not in arguments
        assert "db.example" not in arguments
        assert {"PGPASSWORD=s3cr@t", "PGHOST=db.example", "PGPORT=5433", "PGSSLMODE=require"} <= set(env)


async def test_a_program_that_fails_is_told_with_its_last_words_and_without_the_password(tmp_path: Path):
    clients = Clients(programs(tmp_path / "bin", code=1), 15)
    with pytest.raises(SourceUnavailable, match="pg_dump does not answer: it ended with code 1") as caught:
        await clients.dump(URL, tmp_path / "dump", snapshot="1")
    assert "s3cr" not in str(caught.value)


def test_somebody_elses_settings_of_libpq_lead_nowhere(monkeypatch):
    monkeypatch.setenv("PGSERVICE", "theirs")
    monkeypatch.setenv("PGPORT", "1")
    found = environment("postgresql+asyncpg://postgres@/app?host=/run/sockets&port=5432")
    assert "PGSERVICE" not in found
    assert "PGPASSWORD" not in found
    assert (found["PGHOST"], found["PGPORT"], found["PGDATABASE"]) == ("/run/sockets", "5432", "app")
