"""Mesh samples as a snapshot: a window that takes samples in one at a time and is a snapshot whenever one is asked for.

Counters of the two ends of a link are read at different instants, so each is interpolated to whole seconds, and only
differences between those are kept. What a row says is worked out once, when it is over; asking costs what moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import NotEnoughHistory
from models.mesh import Element, ElementKind, Mesh, NodeId
from models.meshfocus import Norm, strays
from models.meshsignals import (
    LINK_SIGNALS,
    NODE_SIGNALS,
    SIGNALS,
    Columns,
    EndCount,
    EndState,
    NodeCount,
    NodeState,
    Rows,
    end_columns,
    link_signals,
    node_columns,
    node_signals,
)
from models.snapshot import Kind, Snapshot
from models.telemetry import Sample

# A row is a second: two samples of each node, a dozen probes of each link.
STEP_SECONDS = 1.0
# A minute of past and the incident: twice what median and MAD need.
ROWS = 64
# With fewer rows before an incident, its median and MAD are chance.
LEAST_PAST = 12
# Rows still open for samples that are late on their way; delivery takes a tenth of a second, a busy host up to two.
OPEN_ROWS = 4
# A collector silent for longer did not measure in between: interpolating would invent it.
GAP_SECONDS = 3.0
# What is normal is worked out anew for a sixteenth of the elements with each row: all of 10,000 nodes would be a pause.
SLICES = 16
# What strayed is few; more candidates than this make the ranking slower and no better.
AT_MOST = 48


@dataclass(slots=True)
class _Reporter:
    """What is remembered of one node between two samples."""

    ends: NDArray[np.int64]
    names: tuple[str, ...]
    place: int
    epoch: int = -1
    sequence: int = -1
    at: float = -math.inf
    ends_read: Columns = field(default_factory=lambda: np.empty(0))
    node_read: Columns = field(default_factory=lambda: np.empty(0))
    ends_on_grid: Columns | None = None
    node_on_grid: Columns | None = None


class MeshWindow:
    """The newest minute of a mesh. Feed it with `observe`, ask with `snapshot`; it belongs to one watcher."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        places = {(end.node, end.name): 2 * index + side for index, link in enumerate(mesh.links)
                  for side, end in enumerate((link.a, link.b))}  # fmt: skip
        named: dict[NodeId, list[tuple[str, int]]] = {one.id: [] for one in mesh.nodes}
        for (node, name), place in places.items():
            named[node].append((name, place))
        self._reporters = {
            one.id: _Reporter(
                np.array([place for _, place in named[one.id]], dtype=np.int64),
                tuple(name for name, _ in named[one.id]),
                index,
            )
            for index, one in enumerate(mesh.nodes)
        }
        ends, nodes = 2 * len(mesh.links), len(mesh.nodes)
        self._end_counts = _blank(OPEN_ROWS, ends, len(EndCount))
        self._end_states = _blank(OPEN_ROWS, ends, len(EndState))
        self._node_counts = _blank(OPEN_ROWS, nodes, len(NodeCount))
        self._node_states = _blank(OPEN_ROWS, nodes, len(NodeState))
        self._links = _blank(ROWS, len(mesh.links), len(LINK_SIGNALS))
        self._nodes = _blank(ROWS, nodes, len(NODE_SIGNALS))
        self._newest: int | None = None
        self._oldest = 0
        # Rows before this one are worked out, and nothing was taken in for them since.
        self._stale_from = 0
        self._link_norm = Norm(len(mesh.links), LINK_SIGNALS)
        self._node_norm = Norm(nodes, NODE_SIGNALS)
        self._elements = (
            *(Element.of_link(one.id) for one in mesh.links),
            *(Element.of_node(one.id) for one in mesh.nodes),
        )
        self._at = {one: index for index, one in enumerate(self._elements)}
        self._node_place = {one.id: index for index, one in enumerate(mesh.nodes)}
        self._link_nodes = np.array(
            [[self._node_place[node] for node in one.nodes] for one in mesh.links], dtype=np.int64
        ).reshape(-1, 2)

    # --- taking in

    def observe(self, samples: Sequence[Sample]) -> None:
        """Take samples in; those of nodes not declared, seen before, or older than the node's newest change nothing."""
        for sample in samples:
            reporter = self._reporters.get(sample.node)
            if reporter is not None and (sample.epoch, sample.sequence) > (reporter.epoch, reporter.sequence):
                self._take(sample, reporter)

    def _take(self, sample: Sample, reporter: _Reporter) -> None:
        at = sample.at.timestamp()
        by_name = {one.name: one for one in sample.interfaces}
        ends = [end_columns(sample, by_name.get(name), name) for name in reporter.names]
        end_counts = np.stack([one[0] for one in ends]) if ends else np.empty((0, len(EndCount)))
        node_counts, node_states = node_columns(sample)
        row = math.ceil(at / STEP_SECONDS)
        self._advance_to(row)
        if self._is_open(row):
            self._touch(row)
            if ends:
                self._end_states[row % OPEN_ROWS, reporter.ends] = np.stack([one[1] for one in ends])
            self._node_states[row % OPEN_ROWS, reporter.place] = node_states
        if sample.epoch == reporter.epoch and 0 < at - reporter.at <= GAP_SECONDS:
            self._interpolate(reporter, at, end_counts, node_counts)
        else:
            reporter.ends_on_grid = reporter.node_on_grid = None
        reporter.epoch, reporter.sequence, reporter.at = sample.epoch, sample.sequence, at
        reporter.ends_read, reporter.node_read = end_counts, node_counts

    def _interpolate(self, reporter: _Reporter, at: float, ends: Columns, node: Columns) -> None:
        """Read the counters off at each whole second since the sample before, and keep what each second added."""
        for row in range(math.floor(reporter.at / STEP_SECONDS) + 1, math.floor(at / STEP_SECONDS) + 1):
            share = (row * STEP_SECONDS - reporter.at) / (at - reporter.at)
            ends_now = reporter.ends_read + share * (ends - reporter.ends_read)
            node_now = reporter.node_read + share * (node - reporter.node_read)
            if reporter.ends_on_grid is not None and reporter.node_on_grid is not None and self._is_open(row):
                self._touch(row)
                self._end_counts[row % OPEN_ROWS, reporter.ends] = _grown(reporter.ends_on_grid, ends_now)
                self._node_counts[row % OPEN_ROWS, reporter.place] = _grown(reporter.node_on_grid, node_now)
            reporter.ends_on_grid, reporter.node_on_grid = ends_now, node_now

    def _touch(self, row: int) -> None:
        """Have this row worked out anew, and those after it: a link's jitter looks back a row."""
        self._stale_from = min(self._stale_from, row)

    def _is_open(self, row: int) -> bool:
        return self._newest is not None and self._newest - OPEN_ROWS < row <= self._newest

    def _advance_to(self, row: int) -> None:
        if self._newest is None:
            self._newest = self._oldest = row
            return
        # After a pause longer than the window nothing of it is left to close.
        if row - self._newest > ROWS:
            self._links.fill(np.nan)
            self._nodes.fill(np.nan)
            self._newest = self._oldest = row - OPEN_ROWS
        while self._newest < row:
            self._work_out_until(self._newest - OPEN_ROWS + 1)
            self._newest += 1
            self._oldest = max(self._oldest, self._newest - ROWS + 1)
            for one in (self._end_counts, self._end_states, self._node_counts, self._node_states):
                one[self._newest % OPEN_ROWS] = np.nan
            self._links[self._newest % ROWS] = np.nan
            self._nodes[self._newest % ROWS] = np.nan
            self._learn()

    def _work_out_until(self, last: int) -> None:
        """Work out what rows up to this one say, as far as that is not known yet."""
        for row in range(max(self._stale_from, self._oldest), last + 1):
            if self._is_open(row):
                self._work_out(row)
        self._stale_from = max(self._stale_from, last + 1)

    def _work_out(self, row: int) -> None:
        raw, place = row % OPEN_ROWS, row % ROWS
        before = self._links[(row - 1) % ROWS, :, _RTT]
        self._links[place] = link_signals(self._end_counts[raw], self._end_states[raw], before, seconds=STEP_SECONDS)
        self._nodes[place] = node_signals(self._node_counts[raw], self._node_states[raw], seconds=STEP_SECONDS)

    def _learn(self) -> None:
        """Work out what is normal for the next slice of the elements, from the rows that are over."""
        assert self._newest is not None  # noqa: S101 - only called after a row was added
        over = np.arange(self._oldest, self._newest - OPEN_ROWS + 1) % ROWS
        if len(over) < LEAST_PAST:
            return
        for norm, values in ((self._link_norm, self._links), (self._node_norm, self._nodes)):
            norm.learn(values, over, turn=self._newest % SLICES, turns=SLICES)

    # --- answering

    def snapshot(
        self, now: float, *, since: float, target: Element | None = None, at_most: int | None = AT_MOST
    ) -> Snapshot:
        """Return the newest minute, of the elements that strayed and of those they depend on.

        Args:
            now: POSIX seconds; later rows are left out.
            since: POSIX seconds of the first symptom; rows that end after it are abnormal.
            target: Where the symptom was seen; always among the elements.
            at_most: So many strays, worst first; None: every element of the mesh, strayed or not.

        Raises:
            NotEnoughHistory: fewer than `LEAST_PAST` rows before `since`.
        """
        first, last = self._rows_until(now)
        split = max(first, math.floor(since / STEP_SECONDS) + 1)
        if split - first < LEAST_PAST:
            raise NotEnoughHistory(max(0, split - first), LEAST_PAST)
        split = min(split, last)
        self._work_out_until(last)
        rows = np.arange(first, last + 1)
        chosen = self._chosen(np.arange(max(split, last - OPEN_ROWS), last + 1) % ROWS, target, at_most)
        return self._cut(rows, split - first, chosen, target)

    def _rows_until(self, now: float) -> tuple[int, int]:
        if self._newest is None:
            raise NotEnoughHistory(0, LEAST_PAST)
        return self._oldest, min(self._newest, math.ceil(now / STEP_SECONDS))

    def _chosen(self, rows: NDArray[np.int64], target: Element | None, at_most: int | None) -> NDArray[np.int64]:
        links = len(self.mesh.links)
        if at_most is None:
            return np.arange(len(self._elements))
        scores = np.concatenate([
            self._link_norm.deviations(self._links[rows]), self._node_norm.deviations(self._nodes[rows])
        ])  # fmt: skip
        worst = strays(scores, at_most)
        kept = set(worst.tolist())
        if target is not None and target in self._at:
            kept.add(self._at[target])
        # A link is explained by the nodes at its ends, a node by its links that strayed too, which are in already.
        ends = {links + int(node) for one in kept if one < links for node in self._link_nodes[one]}
        return np.array(sorted(kept | ends) or [*range(len(self._elements))][:1], dtype=np.int64)

    def _cut(self, rows: NDArray[np.int64], split: int, chosen: NDArray[np.int64], target: Element | None) -> Snapshot:
        links = len(self.mesh.links)
        of_links, of_nodes = chosen[chosen < links], chosen[chosen >= links] - links
        places = rows % ROWS
        values = np.full((len(rows), len(chosen), len(SIGNALS)), np.nan)
        values[:, : len(of_links), : len(LINK_SIGNALS)] = self._links[np.ix_(places, of_links)]
        values[:, len(of_links) :, len(LINK_SIGNALS) :] = self._nodes[np.ix_(places, of_nodes)]
        local = {int(node): len(of_links) + index for index, node in enumerate(of_nodes)}
        edges = [
            (local[int(node)], index)
            for index, one in enumerate(of_links)
            for node in self._link_nodes[one]
            if int(node) in local
        ]
        elements = tuple(str(self._elements[one]) for one in chosen)
        kinds = tuple(Kind.LINK if self._elements[one].kind is ElementKind.LINK else Kind.NODE for one in chosen)
        return Snapshot(
            elements=elements,
            kinds=kinds,
            edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
            signals=tuple(one.spec for one in SIGNALS),
            times=rows.astype(np.float64) * STEP_SECONDS,
            values=values,
            split=split,
            target=elements.index(str(target)) if target is not None and str(target) in elements else None,
        )


_RTT = next(index for index, one in enumerate(LINK_SIGNALS) if one.spec.name == "round trip")


def element_of(name: str) -> Element:
    """Return the mesh element that a snapshot calls `link:n0--n1` or `node:n0`."""
    kind, _, rest = name.partition(":")
    return Element(ElementKind(kind), rest)


def _blank(*shape: int) -> Rows:
    return np.full(shape, np.nan, dtype=np.float32)


def _grown(before: Columns, after: Columns) -> Columns:
    """Return what each counter added; NaN where it fell back, for it was made anew in between."""
    grown = after - before
    return np.where(grown >= 0, grown, np.nan)
