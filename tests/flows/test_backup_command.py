"""The commands around a backup: where it goes, and an upgrade that keeps the way back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.commands import backup
from infra.backup_archive import verify
from infra.db.cluster import Cluster
from infra.db.migrate import newest
from infra.settings import Settings
from models.errors import RefusedError
from tests.conftest import execute
from tests.infra.db.test_migrations import FIRST, step

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


@pytest.fixture
async def old(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """The state folder of an installation whose database, on a server, is of the first released schema."""
    await execute(cluster.prefect_url, "CREATE DATABASE upgraded")
    url = cluster.url("upgraded")
    await step(url, "0001")
    await execute(url, FIRST)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("X0_STATE", str(tmp_path))
    yield tmp_path
    await execute(cluster.prefect_url, "DROP DATABASE upgraded WITH (FORCE)")


def test_a_folder_gets_a_file_named_after_mesh_and_moment(tmp_path: Path):
    settings = Settings(mesh="lab")
    assert backup._file_in(tmp_path, settings, NOW) == tmp_path / "x0tta6bl4-lab-20261122T123000Z.tar"
    assert backup._file_in(tmp_path / "mine.tar", settings, NOW) == tmp_path / "mine.tar"


@pytest.mark.postgres
async def test_an_upgrade_backs_up_first_then_migrates_and_says_how_to_go_back(
    old: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(RefusedError, match="watch-mesh:old worked with this database"):
        await backup.upgraded(None, with_prefect=False)
    await execute(str(Settings().database_url.get_secret_value()), "UPDATE long_runs SET beat_at = '2026-01-01'")
    await backup.upgraded(None, with_prefect=False)
    told = capsys.readouterr().out
    (made,) = (old / backup.BACKUPS).iterdir()
    assert verify(made).databases["app"].revision == "0001"
    assert f"from 0001 to {newest()}" in told
    assert f"x0tta6bl4 down; x0tta6bl4 restore {made} --replace" in told.replace("\n", "")
    await backup.upgraded(None, with_prefect=False)
    assert "nothing to do" in capsys.readouterr().out
    assert len(list((old / backup.BACKUPS).iterdir())) == 1
