"""The small root process of one node: signed, closed verbs over a unix socket, and nothing else.

One JSON object a line each way. `{"do": "execute", "payload": base64, "signature": base64}` answers
`{"report": {...}}`; `{"do": "reports"}` answers `{"reports": [...]}`; a request that cannot be read answers
`{"error": "..."}`. The socket is the owner's alone and the peer's uid is checked besides; what counts is the signature.

    python -m infra.node.actuator --place node.json --key control.pub
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import TypeAdapter

from infra.clock import SystemClock
from infra.node.gate import Gate, GateKeeper, standing_admissions
from infra.node.hands import Hands
from infra.node.journal import Journal
from infra.node.netlink import Netlink
from infra.node.netns import move_into
from infra.node.place import NodePlace
from infra.node.signing import load_public_key
from infra.node.verbs.access import Admit, Expel
from infra.node.verbs.catalogue import catalogue, standing_costs
from models.errors import ConfigurationInvalid, MeshError, NodeUnavailable
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import ActionReport, Verb

log = structlog.get_logger()

# How late an expired lease may be noticed; leases are 15 s and more.
_SETTLE_S = 0.25
# A base64 order is under 2 KiB; whoever sends more is no client of ours.
_LONGEST_LINE = 65536
# babeld with its default hello of 4 s may need 11 s to be heard again after a restart, and a stubborn one 4 s to end.
_ANSWER_S = 30.0
# Five in a row is no hiccup: whoever supervises us starts a fresh process, which resumes from the journal.
_FAULTS_IN_A_ROW = 5
# Every report of a day of leases, a kilobyte each.
_LONGEST_ANSWER = 1 << 24
_REPORT = TypeAdapter(ActionReport)
_REPORTS = TypeAdapter(tuple[ActionReport, ...])


class ActuatorServer:
    """Serves one node's hands. They work in one thread of their own, one request at a time."""

    def __init__(self, hands: Hands, path: Path) -> None:
        self._hands = hands
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hands")

    async def run(self, stop: asyncio.Event) -> None:
        """Finish what a crash left, then serve until `stop`; uncommitted changes are undone before this returns."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._hands.settle)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST_LINE)
        log.info("actuator ready", socket=str(self._path))
        try:
            await self._settle_until(stop)
        finally:
            server.close()
            self._path.unlink(missing_ok=True)
            await loop.run_in_executor(self._thread, self._hands.withdraw)
            self._thread.shutdown()

    async def _settle_until(self, stop: asyncio.Event) -> None:
        faults = 0
        while not stop.is_set():
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._hands.settle)
                faults = 0
            except Exception:
                # The boundary of a long run's tick: one fault must not leave the other leases standing.
                log.exception("settling failed")
                faults += 1
                if faults == _FAULTS_IN_A_ROW:
                    raise
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SETTLE_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                log.warning("connection refused", reason="the peer is another user")
                return
            while line := await reader.readline():
                writer.write(await self._answer(line) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            # The peer left, or sent a line longer than any order: both end this connection and nothing else.
            log.warning("connection ended", reason=str(error))
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            request = json.loads(line)
            if request["do"] == "reports":
                reports = await loop.run_in_executor(self._thread, self._hands.reports)
                return b'{"reports":' + _REPORTS.dump_json(reports) + b"}"
            if request["do"] != "execute":
                return _complaint("do is execute or reports")
            signed = Signed(
                payload=base64.b64decode(request["payload"], validate=True),
                signature=base64.b64decode(request["signature"], validate=True),
            )
        except (ValueError, TypeError, KeyError) as error:
            return _complaint(f"the request cannot be read ({error!r})")
        report = await loop.run_in_executor(self._thread, self._hands.execute, signed)
        return b'{"report":' + _REPORT.dump_json(report) + b"}"


def _complaint(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def _is_ours(peer: socket.socket) -> bool:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", credentials)[1]
    return uid in {0, os.geteuid()}


class ActuatorClient:
    """Implements models.ports.Actuator over the actuator's socket. One connection a call: calls are rare."""

    def __init__(self, path: Path, *, node: NodeId | None = None, timeout_s: float = _ANSWER_S) -> None:
        """Name the socket; `node` is for the error sentence (default: the folder's name)."""
        self._path = path
        self._node = node or NodeId(path.parent.name)
        self._timeout_s = timeout_s

    async def execute(self, signed: Signed) -> ActionReport:
        """Hand a signed order over and return the node's report."""
        request = {
            "do": "execute",
            "payload": base64.b64encode(signed.payload).decode(),
            "signature": base64.b64encode(signed.signature).decode(),
        }
        return _REPORT.validate_python(await self._ask(request, "report"))

    async def reports(self) -> tuple[ActionReport, ...]:
        """Return the latest report of every operation in the node's journal."""
        return _REPORTS.validate_python(await self._ask({"do": "reports"}, "reports"))

    async def _ask(self, request: Mapping[str, str], key: str) -> object:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=_LONGEST_ANSWER)
                try:
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    answer = json.loads(await reader.readline())
                finally:
                    writer.close()
                    await writer.wait_closed()
        except (OSError, ValueError) as error:
            raise NodeUnavailable(self._node, str(error) or "time-out") from error
        if key not in answer:
            raise NodeUnavailable(self._node, str(answer.get("error")))
        return answer[key]


def open_hands(place: NodePlace, public_key: Ed25519PublicKey, netlink: Netlink) -> tuple[Hands, Journal]:
    """Build the hands of this node over its journal; the calling thread must already be in the node's namespace."""
    clock = SystemClock()
    journal = Journal(place.folder / "actuator.journal", clock.now())
    verbs = catalogue(place, netlink, lambda: standing_costs(journal))
    upkeep = None
    if place.gate is not None:
        gate = Gate(place.gate.interfaces)
        verbs |= {Verb.ADMIT: Admit(gate, clock), Verb.EXPEL: Expel(gate, clock)}
        upkeep = GateKeeper(gate, lambda: standing_admissions(journal), clock).look
    hands = Hands(NodeId(place.node), journal, verbs=verbs, public_key=public_key, clock=clock, upkeep=upkeep)
    return hands, journal


async def serve(place: NodePlace, public_key: Ed25519PublicKey, *, stop: asyncio.Event | None = None) -> None:
    """Be the actuator of one node until SIGTERM, SIGINT or `stop`; then leave no lease behind.

    Moves the calling thread into the node's namespace, so it is for a process of its own.

    Raises:
        ConfigurationInvalid: no such namespace, an unreadable journal, or another actuator serves this node.
    """
    move_into(place.netns)
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    place.folder.mkdir(parents=True, exist_ok=True)
    with (place.folder / "actuator.lock").open("w") as lock, Netlink() as netlink:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationInvalid(f"another actuator serves {place.node}", "end it first") from error
        hands, journal = open_hands(place, public_key, netlink)
        try:
            await ActuatorServer(hands, place.actuator_socket).run(stop)
        finally:
            journal.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the actuator from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.node.actuator", description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="the node's node.json")
    parser.add_argument("--key", type=Path, required=True, help="the control key's public half, control.pub")
    chosen = parser.parse_args(arguments)
    try:
        asyncio.run(serve(NodePlace.load(chosen.place), load_public_key(chosen.key)))
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
