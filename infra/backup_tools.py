"""The system's pg_dump and pg_restore: found, asked for their version, run with the address in their environment alone.

A password on a command line is there for everybody who types `ps`; an environment is its owner's and root's.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from infra.db.cluster import DEBIAN_PROGRAMS
from infra.db.connections import parsed
from models.errors import ConfigurationInvalid, SourceUnavailable, ToolMissing

PROGRAMS = ("pg_dump", "pg_restore")
# What an address may ask of asyncpg, as libpq calls it; whoever else is named there is not for these programs.
SPELLINGS = {"host": "PGHOST", "port": "PGPORT", "ssl": "PGSSLMODE"}
# A dump waits behind a migration or a VACUUM FULL, and nobody should find it waiting in the morning.
LOCK_WAIT = "60s"
LAST_WORDS = 300  # characters: the end of what a program said is where it says why


@dataclass(frozen=True, slots=True)
class Clients:
    """pg_dump and pg_restore of one major version."""

    folder: Path
    major: int

    def require_for(self, server: int) -> None:
        """Refuse a server that is newer than these programs.

        Raises:
            ToolMissing: says which version to install.
        """
        if self.major < server:
            raise ToolMissing(
                f"pg_dump of PostgreSQL {server} or newer (the server's version; found is {self.major})",
                f"apt-get install postgresql-client-{server}",
            )

    async def dump(self, url: str, into: Path, *, snapshot: str) -> None:
        """Write a database, as a snapshot that somebody holds sees it, in pg_dump's own format.

        Raises:
            SourceUnavailable: pg_dump ended badly; carries its last words.
            ConfigurationInvalid: the address is none.
        """
        options = ("--format=custom", "--no-password", f"--lock-wait-timeout={LOCK_WAIT}", f"--snapshot={snapshot}")
        await _run([str(self.folder / "pg_dump"), *options, f"--file={into}"], environment(url))

    async def restore(self, url: str, dump: Path) -> None:
        """Bring a dump into an empty database, all of it or nothing.

        Raises:
            SourceUnavailable: pg_restore ended badly; carries its last words.
            ConfigurationInvalid: the address is none.
        """
        options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-password")
        database = f"--dbname={parsed(url).database or 'postgres'}"
        await _run([str(self.folder / "pg_restore"), *options, database, str(dump)], environment(url))


def find_clients() -> Clients:
    """Return the newest pg_dump and pg_restore of this machine; a newer one reads older servers and dumps.

    Raises:
        ToolMissing: there are none; says how to get them.
    """
    on_path = shutil.which(PROGRAMS[0])
    # On Debian the one on PATH is a wrapper that asks the distribution's own clusters which version to be.
    folders = [*DEBIAN_PROGRAMS.glob("*/bin"), *([Path(on_path).parent] if on_path else [])]
    whole = [one for one in folders if all((one / program).exists() for program in PROGRAMS)]
    if not whole:
        raise ToolMissing("pg_dump", "apt-get install postgresql-client")
    return max((Clients(one, _major(one)) for one in whole), key=lambda clients: clients.major)


def _major(folder: Path) -> int:
    said = subprocess.run([str(folder / PROGRAMS[0]), "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"(\d+)[.\d]*", said.stdout)
    if said.returncode != 0 or found is None:
        raise ToolMissing(f"a pg_dump that runs ({folder / PROGRAMS[0]} does not)", "apt-get install postgresql-client")
    return int(found.group(1))


def environment(url: str) -> dict[str, str]:
    """Return an environment in which libpq finds this database and nothing of somebody else's settings."""
    address = parsed(url)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return ours | _named(address) | {"PGAPPNAME": "x0tta6bl4 backup", "PGCONNECT_TIMEOUT": "5"}


def _named(address: URL) -> dict[str, str]:
    facts = {
        "PGHOST": address.host,
        "PGPORT": address.port,
        "PGUSER": address.username,
        "PGPASSWORD": address.password,
        "PGDATABASE": address.database,
    }
    asked = {
        SPELLINGS[name]: value if isinstance(value, str) else ",".join(value)
        for name, value in address.query.items()
        if name in SPELLINGS
    }
    return {name: str(value) for name, value in facts.items() if value is not None} | asked


async def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    program = Path(command[0]).name
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        # Whoever interrupts us ends it as well: it would hold its locks until it is done.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = " ".join(said.decode(errors="replace").split())[-LAST_WORDS:]
        if "role" in words and "does not exist" in words:
            raise ConfigurationInvalid(f"{program} wants a role that is not there ({words})", "make the role first")
        raise SourceUnavailable(program, f"it ended with code {process.returncode}: {words}")
