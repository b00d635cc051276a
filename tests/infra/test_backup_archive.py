"""The archive: whole or refused with the sentence that says why, closed to others, and never over somebody's file."""

from __future__ import annotations

import io
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.backup_archive import Manifest, part_of, reading, verify, write
from infra.backup_census import DatabaseCensus, TableCensus, differences
from models.errors import ConfigurationInvalid, RefusedError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = b"k" * 32
DUMP = os.urandom(200_000)
CENSUS = DatabaseCensus(
    taken_at=NOW, server=15, revision="0002", roles=(), tables={"orders": TableCensus(rows=5, content="17")}, facts={}
)


def manifest_of(files: dict[str, Path]) -> Manifest:
    return Manifest(
        version="0.1.0",
        made_at=NOW,
        mesh="lab",
        dumped_by=15,
        databases={"app": CENSUS},
        parts={name: part_of(path) for name, path in files.items()},
        absent=(),
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {"app.dump": tmp_path / "dump", "state/control.key": tmp_path / "key"}
    made["app.dump"].write_bytes(DUMP)
    made["state/control.key"].write_bytes(KEY)
    return made


@pytest.fixture
def archive(tmp_path: Path, files: dict[str, Path]) -> Path:
    target = tmp_path / "b.tar"
    (tmp_path / "work").mkdir()
    write(target, manifest_of(files), files, workspace=tmp_path / "work")
    return target


def added(archive: Path, entry: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(archive, "a") as opened:
        entry.size = len(content)
        opened.addfile(entry, io.BytesIO(content))
    return archive


def test_what_was_written_is_read_again_and_only_its_owner_may(archive: Path, tmp_path: Path):
    manifest = verify(archive, into=tmp_path / "out")
    assert manifest.databases["app"].tables["orders"].rows == 5
    assert (tmp_path / "out/app.dump").read_bytes() == DUMP
    assert (tmp_path / "out/state/control.key").read_bytes() == KEY
    closed = [archive, tmp_path / "out/app.dump", tmp_path / "out/state/control.key"]
    assert [one.stat().st_mode & 0o777 for one in closed] == [0o600] * 3


def test_a_file_of_that_name_is_not_overwritten(archive: Path, tmp_path: Path, files: dict[str, Path]):
    before = archive.read_bytes()
    (tmp_path / "again").mkdir()
    with pytest.raises(RefusedError, match="is there already and is not overwritten"):
        write(archive, manifest_of(files), files, workspace=tmp_path / "again")
    assert archive.read_bytes() == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.985])
def test_an_archive_that_was_cut_off_says_so(archive: Path, share: float):
    os.truncate(archive, int(archive.stat().st_size * share))
    with pytest.raises(ConfigurationInvalid, match="cut off"):
        verify(archive)


def test_an_archive_cut_off_at_a_parts_edge_names_what_is_missing(archive: Path):
    with tarfile.open(archive) as opened:
        edge = opened.getmember("state/control.key").offset
    os.truncate(archive, edge)
    with pytest.raises(ConfigurationInvalid, match=r"cut off: state/control\.key missing"):
        verify(archive)


def test_a_part_that_was_altered_is_named(archive: Path, tmp_path: Path):
    content = archive.read_bytes()
    archive.write_bytes(content.replace(KEY, b"x" * 32))
    with pytest.raises(ConfigurationInvalid, match=r"state/control\.key is not as it was written"):
        verify(archive, into=tmp_path / "out")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "state/other.key", "state/node/../x"])
def test_a_part_that_is_none_is_refused(archive: Path, tmp_path: Path, name: str):
    with pytest.raises(ConfigurationInvalid, match="which is no part of a backup"):
        verify(added(archive, tarfile.TarInfo(name), b"x"), into=tmp_path / "out")


def test_a_name_that_only_its_own_manifest_vouches_for_is_refused_too(tmp_path: Path, files: dict[str, Path]):
    files = {"../outside": files["app.dump"]}
    write(tmp_path / "evil.tar", manifest_of(files), files, workspace=tmp_path)
    with pytest.raises(ConfigurationInvalid, match="which is no part of a backup"):
        verify(tmp_path / "evil.tar", into=tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_a_link_in_place_of_a_part_is_refused(archive: Path, tmp_path: Path):
    link = tarfile.TarInfo("app.dump")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(ConfigurationInvalid, match="which is no part of a backup"):
        verify(added(archive, link), into=tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_file_that_is_no_backup_says_so(tmp_path: Path, content: bytes):
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(ConfigurationInvalid, match="is no backup"):
        verify(tmp_path / "odd")


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="is not there"):
        verify(tmp_path / "nothing.tar")


def test_a_tar_without_a_manifest_and_one_of_another_format_are_refused(archive: Path, tmp_path: Path):
    with tarfile.open(tmp_path / "bare.tar", "w") as made:
        made.addfile(tarfile.TarInfo("something"))
    with pytest.raises(ConfigurationInvalid, match="does not begin with a manifest"):
        verify(tmp_path / "bare.tar")
    archive.write_bytes(archive.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(ConfigurationInvalid, match="a manifest that this version cannot read"), reading(archive):
        pass


def test_each_way_in_which_a_database_may_differ_is_told():
    other = CENSUS.model_copy(update={"tables": {"orders": TableCensus(rows=4, content="17")}})
    swapped = CENSUS.model_copy(update={"tables": {"orders": TableCensus(rows=5, content="18")}})
    renamed = CENSUS.model_copy(update={"tables": {"sales": TableCensus(rows=5, content="17")}})
    short = CENSUS.model_copy(update={"facts": {"incidents": 3}})
    assert differences("app", CENSUS, CENSUS) == []
    assert differences("app", CENSUS, other) == ["app: orders had 5 rows and has 4"]
    assert differences("app", CENSUS, swapped) == ["app: orders has its 5 rows, but not the same ones"]
    assert len(differences("app", CENSUS, renamed)) == 2
    assert differences("app", short, CENSUS) == ["app: incidents were 3 and are None"]
