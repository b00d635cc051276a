"""What `bench diagnosis` records: faults x places x shapes of mesh, pairs of faults, and quiet. Pure.

Even numbers are the side to develop on, odd ones are held out: judged once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import networkx as nx
import numpy as np

from infra.lab.faults import PLACES
from infra.lab.placing import nodes_of
from infra.lab.routing import Timers
from infra.lab.topology import Shape, as_graph, cheapest_path, links_along, mesh
from infra.lab.trial import TrialSpec
from models.incident import FaultKind
from models.mesh import Element, ElementKind, LinkId, Mesh, NodeId
from tests.bench.cells import CASES

SIZES: Mapping[Shape, int] = {Shape.RING_CHORD: 6, Shape.GRID: 9, Shape.RANDOM_GEOMETRIC: 8}
QUIET = "quiet"
DOUBLES = ("two-a", "two-b", "two-c", "two-d")
EVERY = (*CASES, *DOUBLES, QUIET)
# A flap shows itself with its second down, at the default period 4 s after the first; routing notices within 4 s.
FAULT_S = 12.0
WARM_UP_S = (4.0, 7.0)
# Judged before the harm at its end only, as is the warm-up of every other case.
QUIET_S = 60.0
SETTLE_S = 120.0


class Side(StrEnum):
    """Which half of the recordings."""

    DEVELOP = "develop"
    HELD_OUT = "held-out"
    ALL = "all"

    def holds(self, number: int) -> bool:
        """Say whether a trial of this number is on this side."""
        return self is Side.ALL or (number % 2 == 0) is (self is Side.DEVELOP)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One recording to be had."""

    case: str
    number: int

    def __str__(self) -> str:
        """Return `grey #3`."""
        return f"{self.case} #{self.number}"


def plan(cases: Sequence[str], trials: int, *, seed: int) -> list[Cell]:
    """Return every cell once, round by round, each round shuffled."""
    rng = np.random.default_rng(seed)
    return [Cell(str(case), number) for number in range(trials) for case in rng.permutation(list(cases))]


def specification(cell: Cell, *, seed: int) -> TrialSpec:
    """Return the trial of a cell; it depends on seed, case and number alone."""
    place = EVERY.index(cell.case)
    rng = np.random.default_rng([seed, place, cell.number])
    shape = tuple(SIZES)[(place + cell.number) % len(SIZES)]
    faults = _faults(cell.case, rng)
    mesh_seed, (source, target), places = _where([FaultKind(str(one["kind"])) for one in faults], shape, rng)
    quiet = cell.case == QUIET
    return TrialSpec.model_validate(
        {
            "name": str(cell),
            "topology": shape,
            "size": SIZES[shape],
            "seed": mesh_seed,
            "timers": Timers(hello_s=1),
            "traffic": {"source": source, "target": target},
            "faults": [{**fault, "place": where} for fault, where in zip(faults, places, strict=True)],
            "warm_up_s": QUIET_S if quiet else round(float(rng.uniform(*WARM_UP_S)), 2),
            "duration_s": 2.0 if quiet else FAULT_S,
            "settle_s": SETTLE_S,
        }
    )


def _faults(case: str, rng: np.random.Generator) -> list[Mapping[str, object]]:
    if case == QUIET:
        return [CASES["loss"]]
    if case not in DOUBLES:
        return [CASES[case]]
    return [CASES[str(one)] for one in rng.choice(sorted(CASES), size=2, replace=False)]


def _where(
    kinds: Sequence[FaultKind], shape: Shape, rng: np.random.Generator
) -> tuple[int, tuple[NodeId, NodeId], list[str]]:
    """Draw a mesh's seed, the traffic's ends, and a place for each fault on its way, no two of which touch."""
    while True:
        seed = int(rng.integers(1 << 16))
        built = mesh(shape, SIZES[shape], seed=seed)
        nodes = [node.id for node in built.nodes]
        source, target = (nodes[int(one)] for one in rng.choice(len(nodes), size=2, replace=False))
        path = cheapest_path(built, source, target)
        places = [_drawn(kind, built, path, rng) for kind in kinds]
        # With a node between the ends there is transit traffic.
        if len(path) > 2 and all(places) and _are_apart(kinds, places, built):
            return seed, (source, target), places


def _drawn(kind: FaultKind, built: Mesh, path: tuple[NodeId, ...], rng: np.random.Generator) -> str:
    if PLACES[kind] is ElementKind.LINK:
        known: list[str] = [link.id for link in links_along(built, path)]
    else:
        # Around a cut node there is no way at all.
        cut = set(nx.articulation_points(as_graph(built)))
        known = [node for node in path[1:-1] if node not in cut]
    return known[int(rng.integers(len(known)))] if known else ""


def _are_apart(kinds: Sequence[FaultKind], places: Sequence[str], built: Mesh) -> bool:
    touched = [nodes_of(_element(kind, place), built) for kind, place in zip(kinds, places, strict=True)]
    return sum(map(len, touched)) == len(frozenset().union(*touched))


def _element(kind: FaultKind, place: str) -> Element:
    return Element.of_link(LinkId(place)) if PLACES[kind] is ElementKind.LINK else Element.of_node(NodeId(place))
