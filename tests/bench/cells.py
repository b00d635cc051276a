"""What `bench healing` runs: faults x arms x trials, each as a trial's specification. Pure.

Trial number k of a case has the same mesh, traffic, place and warm-up in every arm, so that arms are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

import networkx as nx
import numpy as np

from infra.lab.faults import PLACES
from infra.lab.routing import Timers
from infra.lab.topology import Shape, as_graph, cheapest_path, links_along, mesh
from infra.lab.trial import TrialSpec
from models.incident import FaultKind
from models.mesh import ElementKind, Mesh, NodeId, RoutingDaemon

Chance = tuple[NodeId, NodeId, str]  # the traffic's source and target, and the fault's place
SHAPES = tuple(shape for shape in Shape if shape is not Shape.LINE)  # on a line nothing can be healed
SIZE = 6  # nodes of each mesh: as many as two cores carry six times over
CAP_S = 50.0  # what has not recovered by then never does: the slowest recovery of routing alone took 44 s
SETTLE_S = 240.0  # with babeld's default timers it took about 115 s on a busy machine
WARM_UP_S = (10.0, 16.0)  # drawn, so that faults fall anywhere between two hellos, also of the 4 s timers
CLEAN_S = 8.0  # three windows of a verification, and the collector's way to it, end within this
# These faults harm the traffic late or again: neighbours of a silent daemon notice after its hold time.
SLOW = frozenset({FaultKind.DAEMON_HUNG, FaultKind.DAEMON_KILLED, FaultKind.CARRIER_FLAP})
SLOW_CLEAN_S = 25.0


class Arm(StrEnum):
    """Who looks after the mesh."""

    CONTROLLER = "controller"
    BABELD_DEFAULT = "babeld-default"
    BABELD_1S = "babeld-1s"
    BIRD_OSPF_BFD = "bird-ospf-bfd"

    @property
    def heals(self) -> bool:
        """Whether the controller runs."""
        return self is Arm.CONTROLLER


@dataclass(frozen=True, slots=True)
class Beneath:
    """The routing daemon of an arm, with its timers."""

    daemon: RoutingDaemon
    timers: Timers


BENEATH: Mapping[Arm, Beneath] = {
    Arm.CONTROLLER: Beneath(RoutingDaemon.BABELD, Timers(hello_s=1)),
    Arm.BABELD_DEFAULT: Beneath(RoutingDaemon.BABELD, Timers(hello_s=4, update_s=16, smoothing_s=4)),
    Arm.BABELD_1S: Beneath(RoutingDaemon.BABELD, Timers(hello_s=1)),
    Arm.BIRD_OSPF_BFD: Beneath(RoutingDaemon.BIRD, Timers(hello_s=1, bfd=True)),
}
# The arm that is the controller's in everything but the controller: what pairs are made with.
ALONE = Arm.BABELD_1S

CASES: Mapping[str, Mapping[str, Any]] = {
    "grey": {"kind": "grey", "class": "all"},
    "grey-large": {"kind": "grey", "class": "large"},
    "grey-flow": {"kind": "grey", "class": "flow"},
    **{kind.value: {"kind": kind.value} for kind in PLACES if kind is not FaultKind.GREY},
}
QUICK_CASES = ("grey", "loss", "link_down", "sysctl_drift")
QUICK_ARMS = (Arm.CONTROLLER, Arm.BABELD_1S)
QUICK_TRIALS = 2


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One trial to be had: a case, an arm, and which of the trials."""

    case: str
    arm: Arm
    number: int

    def __str__(self) -> str:
        """Return `grey controller #3`."""
        return f"{self.case} {self.arm} #{self.number}"


def plan(cases: Sequence[str], arms: Sequence[Arm], trials: int, *, seed: int) -> list[Cell]:
    """Return every cell once, in an order that mixes faults and arms and covers the early trials first.

    Rounds are shuffled one by one, so that a run that is stopped has about as many trials of each fault and arm.
    """
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    for number in range(trials):
        cells += [Cell(case, arm, number) for case, arm in map(_pair, rng.permutation(list(product(cases, arms))))]
    return cells


def specification(cell: Cell, *, seed: int) -> TrialSpec:
    """Return the trial of a cell; all but the routing daemon and its timers depend on case and number alone."""
    rng = np.random.default_rng([seed, sorted(CASES).index(cell.case), cell.number])
    fault = dict(CASES[cell.case])
    shape, mesh_seed, (source, target, place) = _where(FaultKind(fault["kind"]), rng)
    beneath = BENEATH[cell.arm]
    slow = FaultKind(fault["kind"]) in SLOW
    return TrialSpec.model_validate(
        {
            "name": str(cell),
            "topology": shape,
            "size": SIZE,
            "seed": mesh_seed,
            "daemon": beneath.daemon,
            "timers": beneath.timers,
            "traffic": {"source": source, "target": target},
            "faults": [{**fault, "place": place}],
            "warm_up_s": round(float(rng.uniform(*WARM_UP_S)), 2),
            "duration_s": CAP_S,
            "settle_s": SETTLE_S,
            "stop_after_clean_s": SLOW_CLEAN_S if slow else CLEAN_S,
        }
    )


def _pair(drawn: Sequence[str]) -> tuple[str, Arm]:
    case, arm = drawn
    return str(case), Arm(str(arm))


def _where(kind: FaultKind, rng: np.random.Generator) -> tuple[Shape, int, Chance]:
    """Draw a mesh and its seed, the traffic's ends, and the fault's place on its way with another way around it."""
    chances: list[Chance] = []
    # Two triangles that share a node are a possible mesh whose only transit node nothing leads around: draw again.
    while not chances:
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        seed = int(rng.integers(1 << 16))
        chances = _chances(kind, mesh(shape, SIZE, seed=seed))
    return shape, seed, chances[int(rng.integers(len(chances)))]


def _chances(kind: FaultKind, built: Mesh) -> list[Chance]:
    found: list[Chance] = []
    for source, target in product([node.id for node in built.nodes], repeat=2):
        path = cheapest_path(built, source, target)
        if len(path) > 2:  # with a node between the ends there is transit traffic
            found += [(source, target, place) for place in _places(kind, built, path)]
    return found


def _places(kind: FaultKind, built: Mesh, path: tuple[NodeId, ...]) -> list[str]:
    if PLACES[kind] is ElementKind.LINK:
        return [link.id for link in links_along(built, path)]
    # Around a cut node there is no way at all; none of these shapes has a link like that.
    cut = set(nx.articulation_points(as_graph(built)))
    return [node for node in path[1:-1] if node not in cut]
