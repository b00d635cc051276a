"""What a packet pays for our programs: trial runs inside the kernel, each beside an empty program of the same type."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebpf.libbpf import LIBRARY, libbpf
from ebpf.loader import EBPFLoader
from models.errors import KernelRefused, ToolMissing
from tests.bench.report import Row
from tests.ebpf.frames import CASES

SOURCES = Path(__file__).parent / "programs"
FRAME = CASES["udp of 256 bytes"][0]
BEHIND_OPTIONS = CASES["mld report behind options"][0]
MANY = 10_000
# The rate at which docs/ebpf.md keeps the largest flows.
SAMPLING = 16
KEEPING_FLOWS = "tc_classifier with flows"
# Kind -> what a program returns that lets the packet pass, as the kernel reports it.
_PASSES = {"xdp": 2, "tc": 2**32 - 1}
# Case -> the most that our program may cost over an empty one, by kind (ns); from the issue that asked for them.
_GOALS = {("xdp", "one flow"): 5.0, ("tc", "one flow"): 45.0}
# A flow that was never seen before may cost this much in all (a plain LRU map needs 700 ns).
_NEW_FLOW_GOAL = 300.0


@dataclass(frozen=True, slots=True)
class Subject:
    """One program of ours.

    Attributes:
        name: Object and function, for people.
        kind: `tc` or `xdp`.
        program: Descriptor.
    """

    name: str
    kind: str
    program: int


@dataclass(frozen=True, slots=True)
class Cost:
    """One program in one situation; nanoseconds a packet, the least of all rounds.

    Attributes:
        ours: Our program, in this situation.
        empty: An empty program, in the same.
        bare: An empty program, without the driver that changes the packets.
    """

    name: str
    kind: str
    situation: str
    ours: float
    empty: float
    bare: float
    rounds: int

    def rows(self) -> tuple[Row, ...]:
        """Return the figures: what the program takes by itself, and what it adds to an empty one."""
        over = self.ours - self.empty
        case = f"{self.name}, {self.situation}"
        total = Row(
            case=case,
            metric="ns_per_packet",
            unit="ns",
            value=over + self.bare,
            n=self.rounds,
            peers={"empty program": self.bare},
            goal=_NEW_FLOW_GOAL if self.situation == "a new flow a packet" else None,
        )
        goal = _GOALS.get((self.kind, self.situation))
        return total, Row(case=case, metric="ns_over_empty", unit="ns", value=over, n=self.rounds, goal=goal)


def build(name: str, folder: Path) -> Path:
    """Compile one of the benchmark's own programs.

    Raises:
        ToolMissing: there is no clang.
    """
    clang = shutil.which("clang-14") or shutil.which("clang")
    if clang is None:
        raise ToolMissing("clang", "apt install clang-14; the benchmark compiles what it compares with")
    made = folder / f"{name}.o"
    architecture = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout.strip()
    headers = f"-I/usr/include/{architecture}-linux-gnu"
    command = [clang, "-target", "bpf", "-g", "-O2", headers, "-c", str(SOURCES / f"{name}.bpf.c"), "-o", str(made)]
    subprocess.run(command, check=True)
    return made


def measure(folder: Path, *, rounds: int, repeat: int) -> list[Cost]:
    """Measure both packet programs with one flow, with many, and with a new flow in every packet.

    Args:
        folder: Where the programs to compare with are built.
        rounds: Ours and the empty one take turns so often.
        repeat: Packets in one trial run.
    """
    peers = build("peers", folder)
    with EBPFLoader() as loader:
        classifier, counter = loader.load_program("tc_classifier.o"), loader.load_program("xdp_counter.o")
        sampling = loader.load_program("tc_classifier.o", instance="flows", constants={"flow_sampling": SAMPLING})
        nothing = loader.load_program(peers).programs
        costs = []
        for subject in (
            Subject("xdp_counter", "xdp", counter.programs["count_frames"]),
            Subject("tc_classifier", "tc", classifier.programs["count_ingress"]),
            Subject(KEEPING_FLOWS, "tc", sampling.programs["count_ingress"]),
        ):
            empty = nothing[f"{subject.kind}_nothing"]
            for situation, frame in (("one flow", FRAME), ("behind IPv6 options", BEHIND_OPTIONS)):
                pair = {"ours": subject.program, "empty": empty}
                found = _least(pair, subject.kind, frame, rounds=rounds, repeat=repeat)
                bare = found["empty"]
                costs.append(Cost(subject.name, subject.kind, situation, found["ours"], bare, bare, rounds))
            for situation, flows in ((f"{MANY} flows", MANY), ("a new flow a packet", 0)):
                driven = {
                    who: _driver(loader, peers, subject.kind, target, flows=flows, who=f"{subject.name} {who}")
                    for who, target in (("ours", subject.program), ("empty", empty))
                }
                found = _least(driven | {"bare": empty}, subject.kind, FRAME, rounds=rounds, repeat=repeat)
                costs.append(Cost(subject.name, subject.kind, situation, **found, rounds=rounds))
        return costs


def _driver(loader: EBPFLoader, peers: Path, kind: str, target: int, *, flows: int, who: str) -> int:
    """Load a copy of the driver that hands packets on to `target`; return it."""
    loaded = loader.load_program(peers, instance=f"{who} {flows}", constants={"flows": flows})
    put(loaded.maps[f"{kind}_target"], 0, target)
    return loaded.programs[f"{kind}_flows"]


def _least(programs: Mapping[str, int], kind: str, frame: bytes, *, rounds: int, repeat: int) -> dict[str, float]:
    """Run all programs in turns and return the least of each: whatever disturbs a run only makes it longer."""
    seen: dict[str, list[int]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            result, nanoseconds = libbpf().trial_run(program, frame, repeat=repeat)
            if result != _PASSES[kind]:
                raise KernelRefused(f"a trial run of {name}", f"the program answered {result}")
            seen[name].append(nanoseconds)
    return {name: float(min(times)) for name, times in seen.items()}


def put(map_fd: int, key: int, value: int) -> None:
    """Write one 32-bit value.

    Raises:
        KernelRefused: the map does not take it.
    """
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    result = library.bpf_map_update_elem(
        map_fd, ctypes.byref(ctypes.c_uint32(key)), ctypes.byref(ctypes.c_uint32(value)), ctypes.c_uint64(0)
    )
    if result < 0:
        raise KernelRefused("writing into a map", str(OSError(-result, "")))


def rows(costs: Sequence[Cost]) -> tuple[Row, ...]:
    """Return every figure."""
    return tuple(row for cost in costs for row in cost.rows())
