"""A machine's side of joining: ask the gateway, and write what it says where the node's unit reads it."""

from __future__ import annotations

import os
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.node.place import NodePlace
from infra.node.signing import PUBLIC_NAME
from models.errors import ConfigurationInvalid, RefusedError, SourceUnavailable
from models.joining import JoinRefused

ANSWER_SECONDS = 30.0  # it makes a role, on a server that may be busy; nobody may be left waiting for ever
ENVIRONMENT = "node.env"
NAMED = "name.env"  # apart from the secrets: the actuator must know the name and has no use for them
PLACES = "nodes"
PRIVATE = 0o600
TOLD = ("X0_MESH", "DATABASE_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING")  # what the environment file holds


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a node's folder holds after joining.

    Attributes:
        files: Content by path; the environment holds two secrets.
        has_place: It was declared, and may be healed.
        has_key: The public half of the control key came along.
    """

    files: dict[Path, bytes]
    has_place: bool
    has_key: bool


def targets(folder: Path, name: str) -> tuple[Path, Path, Path, Path]:
    """Return where the environment, the name, the key and the place go."""
    return folder / ENVIRONMENT, folder / NAMED, folder / PUBLIC_NAME, folder / PLACES / f"{name}.json"


def credentials(folder: Path, name: str, *, mesh: str) -> dict[str, str] | None:
    """Return what an earlier joining wrote for this node's processes, by variable; None where none was finished.

    Args:
        folder: The node's folder.
        name: The node that asks.
        mesh: The mesh it is meant to be of.

    Raises:
        JoinRefused: what stands there is another node's, or of another mesh.
        ConfigurationInvalid: it cannot be read, or joining did not write it.
    """
    environment, named, *_ = targets(folder, name)
    if not environment.exists():
        return None
    found = _read(named, ("X0_NODE",)) | _read(environment, TOLD)
    if (found["X0_NODE"], found["X0_MESH"]) != (name, mesh):
        stands = f"{folder} holds the credentials of {found['X0_NODE']} in mesh {found['X0_MESH']}"
        raise JoinRefused(f"{stands}, not of {name} in {mesh}; move them away if this machine is to join anew")
    return {variable: found[variable] for variable in TOLD}


def _read(file: Path, variables: tuple[str, ...]) -> dict[str, str]:
    try:
        found = dict(line.split("=", 1) for line in file.read_text().splitlines())
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(f"{file} cannot be read", "`x0tta6bl4 node join` writes it") from error
    if set(found) != set(variables):
        raise ConfigurationInvalid(f"{file} does not hold just {', '.join(variables)}", "let this machine join anew")
    return found


def require_room(folder: Path, name: str) -> None:
    """Refuse to take the place of what an earlier joining wrote; asked before the token is used up.

    Raises:
        JoinRefused: one of the files exists.
        ConfigurationInvalid: the folder cannot be written to.
    """
    standing = [str(one) for one in targets(folder, name) if one.exists()]
    if standing:
        raise JoinRefused(f"{', '.join(standing)} exists; move it away if this machine is to join anew")
    try:
        (folder / PLACES).mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise ConfigurationInvalid(f"{folder} cannot be made ({error.strerror})", "run this as root") from error
    if not os.access(folder / PLACES, os.W_OK) or not os.access(folder, os.W_OK):
        raise ConfigurationInvalid(f"{folder} cannot be written to", "run this as root")


def ask(
    url: str, token: str, *, name: str, mesh: str, folder: Path, transport: httpx.BaseTransport | None = None
) -> Enrolment:
    """Show the token to the gateway, once, and return what belongs into the node's folder.

    Args:
        url: The gateway, `https://gateway.example`.
        token: The join token.
        name: The node's name.
        mesh: The mesh.
        folder: Where the files will stand.
        transport: Given by tests.

    Raises:
        JoinRefused: the gateway says no, in its own words.
        SourceUnavailable: it does not answer, or not as a gateway.
        ConfigurationInvalid: the address is none.
    """
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ConfigurationInvalid(f"{url} is no address of a gateway", "write https://gateway.example")
    try:
        with httpx.Client(timeout=ANSWER_SECONDS, transport=transport) as client:
            answer = client.post(
                f"{base}/api/v1/join", json={"node": name, "mesh": mesh}, headers={"Authorization": f"Bearer {token}"}
            )
    except httpx.InvalidURL as error:
        raise ConfigurationInvalid(f"{url} is no address of a gateway", "write https://gateway.example") from error
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"the gateway at {base}", str(error) or type(error).__name__) from error
    try:
        said = answer.json()
        if answer.is_success:
            return _enrolment(said, base=base, name=name, folder=folder)
        detail = str(said["detail"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceUnavailable(f"a gateway at {base}", f"HTTP {answer.status_code}, not as ours does") from error
    if answer.is_server_error:
        raise SourceUnavailable(f"the gateway at {base}", detail)
    raise JoinRefused(detail)


def _enrolment(said: dict[str, str | None], *, base: str, name: str, folder: Path) -> Enrolment:
    environment, named, key, place = targets(folder, name)
    values = (said["mesh"], said["database_url"], f"{base}/api/prefect", said["prefect_auth"])
    files = {
        environment: "".join(f"{variable}={_word(str(value))}\n" for variable, value in zip(TOLD, values, strict=True)),
        named: f"X0_NODE={_word(name)}\n",
    }
    written = {path: text.encode() for path, text in files.items()}
    if said["control_pub"] is not None:
        written[key] = b64decode(said["control_pub"], validate=True)
        Ed25519PublicKey.from_public_bytes(written[key])
    if said["place"] is not None:
        NodePlace.model_validate_json(said["place"])
        written[place] = said["place"].encode()
    return Enrolment(written, has_place=place in written, has_key=key in written)


def _word(value: str) -> str:
    """Refuse what would be two lines, or another value, to whoever reads the file (systemd, a shell)."""
    if not value.isprintable() or any(one in value for one in " \"'\\$`#"):
        raise ValueError(value)
    return value


def write(enrolment: Enrolment) -> None:
    """Write the files, each whole or not at all, readable by their owner alone; the environment last.

    Raises:
        RefusedError: one of them came into being meanwhile.
        ConfigurationInvalid: the disk says no.
    """
    for path, content in sorted(enrolment.files.items(), key=lambda one: one[0].name == ENVIRONMENT):
        growing = path.with_name(f".{path.name}.new")
        try:
            handle = os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), PRIVATE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, never takes the place of what stands there.
            os.link(growing, path)
        except FileExistsError as error:
            raise RefusedError(f"{path} exists; move it away if this machine is to join anew") from error
        except OSError as error:
            raise ConfigurationInvalid(f"{path} cannot be written ({error.strerror})", "see the disk") from error
        finally:
            growing.unlink(missing_ok=True)
