"""A backup on the disk: one tar file, its manifest first, then the parts that the manifest names with their digests."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.backup_census import DatabaseCensus
from models.errors import ConfigurationInvalid, RefusedError

MANIFEST = "manifest.json"
STATE = "state/"
"""What begins so was a file of the state folder."""
OWNER_ONLY = 0o600
# Nothing else is ever written anywhere, whatever a manifest says.
NAMES = re.compile(r"(app|prefect)\.dump|state/((control|licence)\.(key|pub)|(node|lab/[\w-]+/[\w-]+)/node\.json)")
# Some hundred bytes a table and a part; whatever is larger is something else.
LARGEST_MANIFEST = 4_000_000
CHUNK = 1 << 20
MEND = "take another backup; this one is not restored"


class Part(BaseModel):
    """One file of the archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What a backup says of itself.

    Attributes:
        format: Of the archive; another one is for another version.
        version: Of the program that made it.
        made_at: Aware UTC.
        mesh: Which installation's.
        dumped_by: pg_dump's major version; an older pg_restore cannot read it.
        databases: `app`, and `prefect` unless it was left out.
        parts: By name, in the archive's order.
        absent: Files of the state folder that were not there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    made_at: datetime
    mesh: str
    dumped_by: int
    databases: Mapping[str, DatabaseCensus]
    parts: Mapping[str, Part]
    absent: tuple[str, ...]


def dump_name(database: str) -> str:
    """Return the part that holds a database."""
    return f"{database}.dump"


def part_of(path: Path) -> Part:
    """Read a file for its size and digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return Part(bytes=path.stat().st_size, sha256=digest.hexdigest())


def write(target: Path, manifest: Manifest, files: Mapping[str, Path], *, workspace: Path) -> None:
    """Put an archive in place at once, readable by its owner only, and on the disk when this returns.

    Args:
        target: Its name.
        manifest: Goes first.
        files: Where the content of each part is.
        workspace: Where it may grow; on the same file system.

    Raises:
        RefusedError: something of that name is there already.
    """
    growing = workspace / "growing.tar"
    text = manifest.model_dump_json(indent=1).encode()
    with os.fdopen(os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(_entry(MANIFEST, len(text), manifest.made_at), BytesIO(text))
            for name, part in manifest.parts.items():
                with files[name].open("rb") as content:
                    archive.addfile(_entry(name, part.bytes, manifest.made_at), content)
        file.flush()
        os.fsync(file.fileno())
    _place(growing, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entry(name: str, size: int, at: datetime) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, OWNER_ONLY, int(at.timestamp())
    return entry


def _place(growing: Path, target: Path) -> None:
    """Give the file its name, and never somebody else's: a link fails where a rename would overwrite."""
    try:
        target.hardlink_to(growing)
    except FileExistsError as error:
        raise RefusedError(f"{target} is there already and is not overwritten; choose another name") from error
    except OSError:
        # A stick's file system has no links; whoever made the file meanwhile loses it.
        growing.rename(target)


@contextmanager
def reading(path: Path) -> Iterator[tuple[Manifest, tarfile.TarFile]]:
    """Open an archive and read its manifest; nothing else of it is checked yet.

    Raises:
        ConfigurationInvalid: it is no backup, cut off, or made by a version with another format.
    """
    try:
        archive = tarfile.open(path, mode="r:")  # noqa: SIM115 - closed below; opening alone is what fails here
    except FileNotFoundError as error:
        raise ConfigurationInvalid(f"{path} is not there", "name a file that `x0tta6bl4 backup` made") from error
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationInvalid(
            f"{path} is no backup ({error})", "name a file that `x0tta6bl4 backup` made"
        ) from error
    with archive:
        yield _manifest(archive, path), archive


def _manifest(archive: tarfile.TarFile, path: Path) -> Manifest:
    mend = "name a file that `x0tta6bl4 backup` made, of this version or an older one"
    try:
        first = archive.next()
        if first is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
            raise ConfigurationInvalid(f"{path} is no backup: it does not begin with a manifest", mend)
        content = archive.extractfile(first)
        return Manifest.model_validate_json(b"" if content is None else content.read())
    except ValidationError as error:
        what = f"{path} has a manifest that this version cannot read ({error.error_count()} faults in it)"
        raise ConfigurationInvalid(what, mend) from error
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationInvalid(f"{path} is cut off ({error})", MEND) from error


def verify(path: Path, into: Path | None = None) -> Manifest:
    """Check every part against its digest; with `into` also write the parts there, readable by their owner only.

    Raises:
        ConfigurationInvalid: no backup, cut off, a part that is missing, foreign or altered; says which.
        OSError: the disk cannot be read, or has no room for the parts.
    """
    with reading(path) as (manifest, archive):
        seen: set[str] = set()
        try:
            while (entry := archive.next()) is not None:
                part = manifest.parts.get(entry.name)
                content = archive.extractfile(entry) if entry.isfile() else None
                if part is None or content is None or entry.name in seen or not NAMES.fullmatch(entry.name):
                    raise ConfigurationInvalid(f"{path} holds {entry.name!r}, which is no part of a backup", MEND)
                seen.add(entry.name)
                if _copied(content, None if into is None else into / entry.name) != part:
                    raise ConfigurationInvalid(f"{path}: {entry.name} is not as it was written (SHA-256 differs)", MEND)
        except tarfile.TarError as error:
            raise ConfigurationInvalid(f"{path} is cut off ({error})", MEND) from error
        missing = [name for name in manifest.parts if name not in seen]
        if missing:
            raise ConfigurationInvalid(f"{path} is cut off: {', '.join(missing)} missing", MEND)
    return manifest


def _copied(content: IO[bytes], place: Path | None) -> Part:
    digest, size = hashlib.sha256(), 0
    with _opened(place) as file:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return Part(bytes=size, sha256=digest.hexdigest())


def _opened(place: Path | None) -> IO[bytes]:
    if place is None:
        return Path(os.devnull).open("wb")
    place.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb")
