"""The private Postgres cluster of one installation, made of the system's own programs.

Synchronous on purpose: it runs in the supervisor and the CLI, before any event loop has work.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import structlog

from infra.settings import Settings
from models.errors import ConfigurationInvalid, SourceUnavailable, ToolMissing

log = structlog.get_logger()

PROGRAMS = ("initdb", "pg_ctl", "postgres", "pg_isready", "psql")
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
SERVER_USER = "postgres"
APP, PREFECT = "app", "prefect"
# sockaddr_un holds 108 bytes with its closing NUL, and Postgres appends this name.
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_LIMIT = 107
# A clean start takes 0.6 s; recovery after a crash of a cluster of this size a few seconds on a busy machine.
START_SECONDS = 60

CONFIGURATION = """\
# Written by infra/db/cluster.py at every start.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
max_connections = 200
fsync = on
# Six nodes write about 100 kB/s; the default of 1 GB of WAL would be most of a small machine's disk.
max_wal_size = 256MB
shared_buffers = 64MB
log_line_prefix = '%m [%p] %d '
timezone = 'UTC'
"""
# Who we are on this machine decides, not a password: root and the server's own user come in, nobody else.
HOST_RULES = "local all all peer map=x0\n"


def database_url(settings: Settings) -> str:
    """Return the app database's address: as configured, else that of the private cluster in the state folder."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return Cluster(cluster_folder(settings)).app_url


def cluster_folder(settings: Settings) -> Path:
    """Return where an installation keeps its private cluster."""
    return settings.state / "postgres"


def find_programs(version: str | None = None) -> Path:
    """Return the folder of the Postgres server programs.

    Args:
        version: Major version a cluster was made with; None: the one on PATH, else the newest of the distribution's.

    Raises:
        ToolMissing: there is none (of that version); says how to get it.
    """
    found = shutil.which("pg_ctl")
    on_path = [Path(found).resolve().parent] if found else []
    packaged = sorted(DEBIAN_PROGRAMS.glob("*/bin"), key=lambda one: _number(one.parent.name), reverse=True)
    if version is not None:
        # A cluster opens only with the major version that made it, and the folder's name says which that is.
        packaged = [one for one in packaged if one.parent.name == version]
        on_path = [one for one in on_path if one.parent.name in {version, "usr", "local"}]
    for folder in (*on_path, *packaged):
        if all((folder / one).exists() for one in PROGRAMS):
            return folder
    raise ToolMissing(
        f"PostgreSQL {version or ''}".strip(), f"apt-get install postgresql{f'-{version}' if version else ''}"
    )


def _number(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0


class Cluster:
    """One private cluster in `folder`, with the databases `app` and `prefect`, reached by unix socket only.

    As root everything of Postgres runs as the user `postgres`, which must be able to reach the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "postgres.log"
        self.sockets = self._socket_folder()

    @property
    def app_url(self) -> str:
        """Address of our own database."""
        return self.url(APP)

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's database."""
        return self.url(PREFECT)

    def url(self, database: str) -> str:
        """Return the address of a database of this cluster."""
        # The port is named, or PGPORT in somebody's environment would choose another socket.
        return f"postgresql+asyncpg://postgres@/{database}?host={self.sockets}&port={PORT}"

    def create(self) -> None:
        """Make the cluster and its databases, stopped; nothing happens where it exists. Takes about 5 s.

        Raises:
            ToolMissing: Postgres is not installed.
            ConfigurationInvalid: Postgres' user cannot reach the folder, or a step failed; carries its last words.
        """
        if (self.data / "PG_VERSION").exists():
            return
        self._make_folder(self.folder)
        if not self._as_server(["test", "-w", str(self.folder)], check=False):
            raise ConfigurationInvalid(
                f"user {self._server_user()} cannot reach {self.folder}",
                "choose a state folder with X0_STATE whose parents are open to it (mode 755)",
            )
        # Made beside and moved into place when complete, so that a crash half-way leaves nothing that looks done.
        growing = Cluster(self.folder)
        growing.data = self.folder / "data.new"
        shutil.rmtree(growing.data, ignore_errors=True)
        log.info("creating the database cluster", folder=str(self.folder))
        growing._as_server(
            [
                str(find_programs() / "initdb"),
                "-D",
                str(growing.data),
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ]
        )
        growing.start()
        try:
            for database in (APP, PREFECT):
                growing._sql("postgres", f"CREATE DATABASE {database}")
            # Prefect's own migrations need it and may not create it themselves.
            growing._sql(PREFECT, "CREATE EXTENSION pg_trgm")
        finally:
            growing.stop()
        growing.data.rename(self.data)

    def foreground_command(self) -> list[str]:
        """Return the command that is the server, for a supervisor that watches it; configuration is written first.

        Its pid is the postmaster's (no shell or runuser between). SIGINT stops it fast, SIGQUIT at once; SIGTERM waits
        for every client and is of no use here. After SIGKILL start it again: Postgres recovers by itself.
        """
        self._configure()
        return [*self._identity(), str(self._programs() / "postgres"), "-D", str(self.data)]

    def start(self) -> None:
        """Start in the background, if it is not running, and wait until it answers.

        Raises:
            SourceUnavailable: it did not come up; the log says why.
        """
        if self.running():
            return
        self._configure()
        started = self._as_server(
            self._pg_ctl("-l", str(self.log), "-w", "-s", "-t", str(START_SECONDS), "start"), check=False
        )
        if not started:
            raise SourceUnavailable("postgres", f"it did not start; see {self.log}")

    def stop(self) -> None:
        """Stop fast: clients are disconnected, everything committed is kept. Nothing happens when it is not running."""
        if self.running():
            self._as_server(self._pg_ctl("-m", "fast", "-w", "-s", "stop"))

    def stop_orphan(self) -> bool:
        """Stop at once a server that an earlier supervisor left behind; True when there was one.

        Like a crash: the next start recovers from the log.
        """
        if not self.running():
            return False
        log.warning("stopping an orphaned database server", folder=str(self.folder))
        self._as_server(self._pg_ctl("-m", "immediate", "-w", "-s", "stop"))
        return True

    def running(self) -> bool:
        """Tell whether a server process runs on this cluster, whoever started it."""
        if not (self.data / "postmaster.pid").exists():
            return False
        return self._as_server(self._pg_ctl("status"), check=False)

    def ready(self) -> bool:
        """Tell whether it accepts connections."""
        asked = subprocess.run(
            [str(self._programs() / "pg_isready"), "-q", "-h", str(self.sockets), "-p", str(PORT)],
            check=False,
            capture_output=True,
        )
        return asked.returncode == 0

    def _pg_ctl(self, *arguments: str) -> list[str]:
        return [str(self._programs() / "pg_ctl"), "-D", str(self.data), *arguments]

    def _programs(self) -> Path:
        recorded = self.data / "PG_VERSION"
        return find_programs(recorded.read_text().strip() if recorded.exists() else None)

    def _socket_folder(self) -> Path:
        """Choose the socket's folder: inside ours, or where that is too long a short one with a name made of ours."""
        own = self.folder / "socket"
        if len(os.fsencode(own / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return own
        short = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))  # noqa: S108 - the folder below is ours alone, mode 755, and its owner is checked by peer authentication
        return short / f"x0-postgres-{hashlib.sha256(os.fsencode(self.folder.absolute())).hexdigest()[:12]}"

    def _configure(self) -> None:
        self._make_folder(self.sockets)
        user = self._server_user()
        admitted = dict.fromkeys((user, "root", getpass.getuser()))
        for name, content in (
            ("postgresql.conf", CONFIGURATION.format(sockets=self.sockets, port=PORT)),
            ("pg_hba.conf", HOST_RULES),
            ("pg_ident.conf", "".join(f"x0 {one} postgres\n" for one in admitted)),
        ):
            path = self.data / name
            path.write_text(content)
            shutil.chown(path, user)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder that Postgres' user owns. Others may pass: peer authentication decides who may connect."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        shutil.chown(folder, self._server_user())

    def _server_user(self) -> str:
        if os.geteuid() != 0:
            return getpass.getuser()
        try:
            return pwd.getpwnam(SERVER_USER).pw_name
        except KeyError as error:
            raise ToolMissing("PostgreSQL (its user `postgres`)", "apt-get install postgresql") from error

    def _identity(self) -> list[str]:
        """Return what to put before a command so that it *becomes* the server's user, keeping its pid."""
        if os.geteuid() != 0:
            return []
        user = self._server_user()
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--inh-caps=-all", "--"]

    def _as_server(self, command: Sequence[str], *, check: bool = True) -> bool:
        # A server started from here keeps the files it is given for as long as it lives: never a pipe.
        ended = subprocess.run(
            [*self._identity(), *command],
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if check and ended.returncode != 0:
            raise ConfigurationInvalid(
                f"`{' '.join(command)}` ended with code {ended.returncode}", f"see {self.log} or run it by hand"
            )
        return ended.returncode == 0

    def _sql(self, database: str, statement: str) -> None:
        psql = [str(self._programs() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        there = ["-h", str(self.sockets), "-p", str(PORT), "-U", "postgres", "-d", database]
        self._as_server([*psql, *there, "-c", statement])
