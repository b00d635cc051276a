"""Tracing programs in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.telemetry import DropClass, DropCount, KernelReading


@dataclass
class FakeKernelSignals:
    """Counts what it is told to; `absent` names what this node cannot measure."""

    dropped: dict[DropClass, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset({"syscalls"})
    is_open: bool = True

    def drop(self, reason: DropClass = DropClass.SOCKET, packets: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + packets

    def read(self) -> KernelReading:
        if not self.is_open:
            return KernelReading()
        return KernelReading(
            drops=None
            if "drops" in self.absent
            else tuple(DropCount(kind, packets) for kind, packets in self.dropped.items()),
            retransmits=None if "retransmits" in self.absent else 0,
            syscall_p99_us=None if "syscalls" in self.absent else 1.0,
        )

    def missing(self) -> frozenset[str]:
        return self.absent

    def close(self) -> None:
        self.is_open = False
