"""A trial as a file: which mesh, which traffic, which harm and when. Read strictly: a typo is told, not ignored.

    name: grey link under a phone call
    topology: ring-chord
    size: 6
    traffic: {source: n0, target: n3, pps: 50}
    faults:
      - {kind: grey, class: flow, place: auto, at_s: 0}
    warm_up_s: 10
    duration_s: 30

`place: auto` means the link, or the node, in the middle of the traffic's path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.lab.faults import PLACES
from infra.lab.routing import Timers
from infra.lab.topology import Shape, mesh
from infra.lab.wire import FLOW_CLASSES, GreyClass
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import ElementKind, Mesh, RoutingDaemon

SMALL_TRAFFIC = 400  # bytes: a voice or control packet
LARGE_TRAFFIC = 1400  # bytes: what a transfer sends, and what size-dependent faults bite
AUTO: Literal["auto"] = "auto"


class TrafficSpec(BaseModel):
    """The measured flow: requests from one loopback to another, and their answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(default="n0", description="Node that asks.")
    target: str = Field(default=AUTO, description="Node that answers; auto: the most hops away.")
    pps: float = Field(default=50, ge=1, le=2000, description="Requests a second in each flow.")
    size: Annotated[int, Field(ge=64, le=1472)] | Literal["auto"] = Field(
        default=AUTO, description="Bytes of a packet; auto: 1400 where a fault asks for large ones, else 400."
    )
    flows: int = Field(default=1, ge=1, le=64, description="Flows with source ports of their own.")


class FaultSpec(BaseModel):
    """One harm of a trial."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: FaultKind
    place: str = Field(default=AUTO, description="n1--n2 or n1; auto: the middle of the traffic's path.")
    at_s: float = Field(default=0, ge=0, description="Seconds after the warm-up.")
    for_s: float | None = Field(default=None, gt=0, description="Taken back after so long; none: stands to the end.")
    percent: float = Field(default=40, gt=0, le=100, description="loss: share of packets lost each way.")
    grey: GreyClass = Field(default=GreyClass.ALL, alias="class", description="grey: which transit packets die.")
    flow_class: Annotated[int, Field(ge=0, lt=FLOW_CLASSES)] | Literal["auto"] = Field(
        default=AUTO, description="grey by flow: hash class; auto: that of the first flow's requests."
    )
    toward: str = Field(default=AUTO, description="one_way, qdisc_drift: packets to this end; auto: the far one.")
    kbit: int = Field(default=64, ge=8, description="rate_clamp, qdisc_drift: kbit/s that still pass.")
    period_s: float = Field(default=4, ge=0.5, le=120, description="carrier_flap: from one down to the next.")
    via: str = Field(default=AUTO, description="route_drift: neighbour, blackhole, or auto: a neighbour that loops.")

    @field_validator("kind")
    @classmethod
    def _can_be_made(cls, kind: FaultKind) -> FaultKind:
        if kind not in PLACES:
            message = f"{kind} is no fault that can be made"
            raise ValueError(message)
        return kind

    @property
    def wants_large_packets(self) -> bool:
        """Whether small packets would never notice this fault."""
        return self.kind is FaultKind.MTU or (self.kind is FaultKind.GREY and self.grey is GreyClass.LARGE)


class TrialSpec(BaseModel):
    """A trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="trial", description="For reports.")
    topology: Shape = Shape.RING_CHORD
    size: int = Field(default=6, ge=2, le=250, description="Nodes.")
    seed: int = Field(default=0, ge=0, description="Of link costs and of a random mesh.")
    daemon: RoutingDaemon = RoutingDaemon.BABELD
    timers: Timers = Timers()
    traffic: TrafficSpec = TrafficSpec()
    faults: tuple[FaultSpec, ...] = Field(min_length=1)
    warm_up_s: float = Field(default=10, ge=1, le=600, description="Quiet traffic before the first fault.")
    duration_s: float = Field(default=30, ge=2, le=3600, description="Watched after the first fault.")
    cap_s: float | None = Field(default=None, gt=0, description="Outage of what never recovered; none: duration_s.")
    settle_s: float = Field(default=60, ge=1, le=600, description="Patience with routing before the trial.")
    stop_after_clean_s: float | None = Field(
        default=None, ge=1, description="End early after so long a recovery; none: always watch to the end."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        built = self.mesh("check")
        nodes, links = {node.id: node for node in built.nodes}, {link.id: link for link in built.links}
        for end in (self.traffic.source, self.traffic.target):
            if end not in {*nodes, AUTO}:
                message = f"traffic names {end}; this mesh has {', '.join(nodes)}"
                raise ValueError(message)
        if self.traffic.source in {AUTO, self.traffic.target}:
            message = "traffic needs a source, and a target that is another node"
            raise ValueError(message)
        for fault in self.faults:
            known = tuple(links) if PLACES[fault.kind] is ElementKind.LINK else tuple(nodes)
            if fault.place not in {*known, AUTO}:
                message = f"{fault.kind} at {fault.place}; choose auto or one of {', '.join(known)}"
                raise ValueError(message)
            if fault.at_s >= self.duration_s:
                message = f"{fault.kind} at {fault.at_s:g} s comes after the trial's end at {self.duration_s:g} s"
                raise ValueError(message)
        if self.cap_s is not None and self.cap_s > self.duration_s:
            message = f"cap_s of {self.cap_s:g} s is longer than the {self.duration_s:g} s that are watched"
            raise ValueError(message)
        return self

    @property
    def cap(self) -> float:
        """The outage of what never recovered, seconds."""
        return self.duration_s if self.cap_s is None else self.cap_s

    @property
    def packet_size(self) -> int:
        """Bytes of a packet of the traffic."""
        if self.traffic.size != AUTO:
            return self.traffic.size
        return LARGE_TRAFFIC if any(fault.wants_large_packets for fault in self.faults) else SMALL_TRAFFIC

    def mesh(self, lab: str) -> Mesh:
        """Return the mesh, under the lab's name.

        Raises:
            ValueError: the size does not fit the topology.
        """
        try:
            return mesh(self.topology, self.size, name=lab, seed=self.seed, daemon=self.daemon)
        except ConfigurationInvalid as error:
            raise ValueError(str(error)) from error


def load(path: Path) -> TrialSpec:
    """Read a trial file.

    Raises:
        ConfigurationInvalid: it cannot be read, is no YAML, or says what a trial does not know; a line each.
    """
    try:
        return TrialSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationInvalid(f"cannot read {path} ({error.strerror})", "name a trial file") from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"{path} is no text in UTF-8", "name a trial file") from error
    except yaml.YAMLError as error:
        raise ConfigurationInvalid(f"{path} is no YAML: {error}", "mend it there") from error
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, one['loc'])) or 'trial'}: {one['msg']}" for one in error.errors()]
        raise ConfigurationInvalid(f"{path} is no trial:\n  " + "\n  ".join(mistakes) + "\n", "mend these") from error
