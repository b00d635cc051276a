"""Following a packet's way through the kernels of a lab, hop by hop, and noting when it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import structlog
from pyroute2 import NetlinkError

from infra.lab.build import Lab
from infra.lab.kernel import netlink
from models.mesh import NodeId

log = structlog.get_logger()
SAMPLE_SECONDS = 0.25  # four a second catch every change that lasts, for about a percent of a core
Path = tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The way there and the way back. A way that does not arrive ends where the packet is lost or begins to circle."""

    there: Path
    back: Path

    def crosses(self, nodes: frozenset[NodeId]) -> bool:
        """Tell whether both ways touch all these nodes next to each other (a link's two) or at all (one node)."""
        return all(_touches(way, nodes) for way in (self.there, self.back))


@dataclass(frozen=True, slots=True)
class Move:
    """The path as it was found to be from an instant on (monotonic seconds)."""

    at: float
    path: RoundTrip


class Tracer:
    """Asks the kernels. Holds one netlink socket per node it came by; use from one thread only."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stack = ExitStack()
        self._handles: dict[NodeId, Any] = {}
        self._interfaces: dict[NodeId, Mapping[int, str]] = {}

    def trace(self, source: NodeId, target: NodeId) -> RoundTrip:
        """Return the present way from source to target and back."""
        return RoundTrip(there=self._follow(source, target), back=self._follow(target, source))

    def close(self) -> None:
        """Give the sockets back."""
        self._stack.close()

    def _follow(self, source: NodeId, target: NodeId) -> Path:
        way = [source]
        while way[-1] != target:
            following = self._next(way[-1], self._lab.mesh.node(target).address)
            if following is None:
                break
            way.append(following)
            if following in way[:-1]:
                break
        return tuple(way)

    def _next(self, node: NodeId, address: str) -> NodeId | None:
        if node not in self._handles:
            handle = self._stack.enter_context(netlink(self._lab.namespace(node)))
            self._handles[node] = handle
            self._interfaces[node] = {one["index"]: one.get_attr("IFLA_IFNAME") for one in handle.get_links()}
        try:
            found = self._handles[node].route("get", dst=address)
        except NetlinkError:
            return None  # unreachable, or a blackhole route: that is where this packet ends
        interface = self._interfaces[node].get(found[0].get_attr("RTA_OIF"))
        ends = self._lab.places[node].links
        return next((NodeId(end.peer) for end in ends if end.interface == interface), None)


class Watch:
    """Samples the path in the background and keeps its moves; the first is the path at the start.

    Attributes:
        moves: In order; each differs from the one before it.
    """

    def __init__(self, lab: Lab, source: NodeId, target: NodeId) -> None:
        self.moves: list[Move] = []
        self._ends = source, target
        self._tracer = Tracer(lab)
        # One thread: the tracer's sockets belong to the thread that opened them.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="path")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> RoundTrip:
        """Return the present path and go on sampling."""
        await self._sample()
        self._task = asyncio.create_task(self._run())
        return self.moves[-1].path

    async def stop(self) -> None:
        """Stop sampling; safe to call twice.

        Raises:
            Exception: what ended the sampling early; a watch that died must not pass for a path that did not move.
        """
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        try:
            await asyncio.gather(task, return_exceptions=False)
        except asyncio.CancelledError:
            log.debug("path watch stopped", moves=len(self.moves))
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._tracer.close)
            self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self._sample()

    async def _sample(self) -> None:
        at = time.monotonic()
        path = await asyncio.get_running_loop().run_in_executor(self._thread, self._tracer.trace, *self._ends)
        if not self.moves or self.moves[-1].path != path:
            self.moves.append(Move(at=at, path=path))


def _touches(way: Path, nodes: frozenset[NodeId]) -> bool:
    if len(nodes) == 1:
        return nodes <= set(way)
    return any(set(pair) == nodes for pair in pairwise(way))
