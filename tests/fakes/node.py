"""A node in memory: its hands, its probes, its senses. Each passes the contract of the real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.node.place import NodePlace
from infra.node.signing import decode, verify
from models.errors import NodeUnavailable, OrderRefused
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import DUTIES, ActionReport, ActionState, Closing, ClosingOrder, OperationId, Order, Verb
from models.telemetry import (
    DaemonState,
    HostReading,
    LinkProbeReading,
    NodeBaseline,
    ProbeKind,
    ReachReading,
    SizeClass,
)


@dataclass
class FakeClock:
    """A clock that stands until it is told."""

    instant: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def advance(self, time: timedelta) -> None:
        self.instant += time


def _setting(order: Order) -> str:
    """Name what an order writes: its verb and its first argument, or the node; both duties write an address."""
    if order.action.verb in DUTIES:
        return f"gate:{order.action.arguments['address']}"
    subjects = [
        str(order.action.arguments[one]) for one in ("interface", "name", "prefix") if one in order.action.arguments
    ]
    return ":".join([order.action.verb, *subjects])


def _value(order: Order) -> str:
    values = [
        order.action.arguments[one]
        for one in ("cost", "mtu", "value", "expected", "kind", "until")
        if one in order.action.arguments
    ]
    if order.action.verb is Verb.EXPEL:
        return ""
    return str(values[0]) if values else "running"


@dataclass
class FakeActuator:
    """Keeps settings in a dictionary, `set-mtu:to-n1` -> `1500`; `refuses` may hold back an order with a reason."""

    node: NodeId
    public_key: Ed25519PublicKey
    clock: FakeClock
    settings: dict[str, str] = field(default_factory=dict)
    refuses: Callable[[Order], str] | None = None
    is_away: bool = False
    writes: int = 0
    epoch: int = 0
    _orders: dict[OperationId, Order] = field(default_factory=dict)
    _reports: dict[OperationId, ActionReport] = field(default_factory=dict)

    async def execute(self, signed: Signed) -> ActionReport:
        self._tick()
        try:
            order = verify(signed, self.public_key)
            return self._open(order) if isinstance(order, Order) else self._close(order)
        except OrderRefused as error:
            try:
                operation = decode(signed.payload).operation
            except OrderRefused:
                operation = OperationId("")
            return self._report(operation, ActionState.REFUSED, message=error.reason)

    async def reports(self) -> tuple[ActionReport, ...]:
        self._tick()
        orders = self._orders
        return tuple(
            report
            for operation, report in self._reports.items()
            if operation not in orders or orders[operation].action.verb not in DUTIES
        )

    def _tick(self) -> None:
        if self.is_away:
            raise NodeUnavailable(self.node, "away")
        for report in list(self._reports.values()):
            if report.lease_until is not None and report.lease_until <= self.clock.now():
                self._undo(report, "its lease ran out without a commit")

    def _report(self, operation: OperationId, state: ActionState, *, message: str) -> ActionReport:
        return ActionReport(operation, state, "", "", message, self.clock.now())

    def _admit(self, node: NodeId, order: Order | ClosingOrder) -> None:
        if node != self.node:
            raise OrderRefused("foreign")
        if order.epoch < self.epoch:
            raise OrderRefused("old epoch")
        if order.expires_at <= self.clock.now():
            raise OrderRefused("expired")
        self.epoch = order.epoch

    def _open(self, order: Order) -> ActionReport:
        if order.operation in self._reports:
            if order.operation in self._orders and self._orders[order.operation].action != order.action:
                raise OrderRefused("its operation id was used for another action")
            return self._reports[order.operation]
        self._admit(order.action.node, order)
        self._orders[order.operation] = order
        setting = _setting(order)
        held = any(
            report.lease_until is not None and _setting(self._orders[report.operation]) == setting
            for report in self._reports.values()
        )
        reason = "held by another operation" if held else (self.refuses(order) if self.refuses else "")
        if reason:
            report = self._report(order.operation, ActionState.REFUSED, message=reason)
        else:
            before = self.settings.get(setting, "")
            self._write(setting, _value(order))
            is_duty = order.action.verb in DUTIES
            report = ActionReport(
                order.operation,
                ActionState.COMMITTED if is_duty else ActionState.APPLIED,
                before,
                self.settings[setting],
                "done" if is_duty else "applied",
                self.clock.now(),
                None if is_duty else self.clock.now() + order.lease,
            )
        self._reports[order.operation] = report
        return report

    def _write(self, setting: str, value: str) -> None:
        self.settings[setting] = value
        self.writes += 1

    def _close(self, closing: ClosingOrder) -> ActionReport:
        self._admit(closing.node, closing)
        report = self._reports.get(closing.operation)
        if closing.closing is Closing.COMMIT:
            if report is None:
                raise OrderRefused("unknown operation")
            if report.state is not ActionState.APPLIED:
                return report
            done = replace(report, state=ActionState.COMMITTED, at=self.clock.now(), lease_until=None)
        elif report is None:
            done = self._report(closing.operation, ActionState.UNDONE, message="withdrawn before it was applied")
        elif report.state not in {ActionState.APPLIED, ActionState.COMMITTED}:
            return report
        else:
            self._refuse_if_replaced(closing.operation)
            return self._undo(report, "the controller took it back")
        self._reports[closing.operation] = done
        return done

    def _refuse_if_replaced(self, operation: OperationId) -> None:
        later = list(self._reports)[list(self._reports).index(operation) + 1 :]
        for one in later:
            stands = self._reports[one].state in {ActionState.APPLIED, ActionState.COMMITTED}
            if stands and _setting(self._orders[one]) == _setting(self._orders[operation]):
                raise OrderRefused("a later operation changed it since")

    def _undo(self, report: ActionReport, why: str) -> ActionReport:
        self._write(_setting(self._orders[report.operation]), report.before)
        done = replace(
            report,
            state=ActionState.UNDONE,
            after=report.before,
            message=why,
            at=self.clock.now(),
            lease_until=None,
        )
        self._reports[report.operation] = done
        return done


@dataclass
class FakeProber:
    """Counts as a prober would; `lose` names (interface or target) whose probes get no answer."""

    place: NodePlace
    lose: set[str] = field(default_factory=set)
    is_running: bool = False
    _counts: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _fresh: set[tuple[str, ...]] = field(default_factory=set)

    async def start(self) -> None:
        self.is_running = True

    def beat(self, count: int = 1) -> None:
        """Send and settle so many probes of every sort."""
        for name in (*(link.interface for link in self.place.links), *(reach.node for reach in self.place.reach)):
            for kind in (*ProbeKind, "reach"):
                for size in (SizeClass.SMALL, SizeClass.LARGE):
                    sent = self._counts.setdefault((name, kind, size), [0, 0])
                    sent[0] += count if self.is_running else 0
                    if self.is_running and name not in self.lose:
                        sent[1] += count
                        self._fresh.add((name, kind, size))

    def read(self) -> tuple[tuple[LinkProbeReading, ...], tuple[ReachReading, ...]]:
        sizes = (SizeClass.SMALL, SizeClass.LARGE)
        links = []
        for link in self.place.links:
            for kind in ProbeKind:
                for size in sizes:
                    sent, answered = self._counts.get((link.interface, kind, size), (0, 0))
                    rtt = 0.2 if (link.interface, kind, size) in self._fresh else None
                    links.append(
                        LinkProbeReading(
                            link.interface, NodeId(link.peer), kind, size, sent, sent, answered, answered, rtt
                        )
                    )
        reach = []
        for target in self.place.reach:
            for size in sizes:
                sent, answered = self._counts.get((target.node, "reach", size), (0, 0))
                rtt = 0.4 if (target.node, "reach", size) in self._fresh else None
                reach.append(ReachReading(NodeId(target.node), size, sent, sent, answered, rtt))
        self._fresh.clear()
        return tuple(links), tuple(reach)

    async def close(self) -> None:
        self.is_running = False


@dataclass
class FakeSenses:
    """Says what it is told."""

    reading: HostReading | None
    baseline: NodeBaseline

    @classmethod
    def healthy(cls, place: NodePlace) -> FakeSenses:
        """A node on which nothing is wrong."""
        names = [link.interface for link in place.links]
        baseline = NodeBaseline(
            node=NodeId(place.node),
            version=0,
            recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
            mtu=dict.fromkeys(names, 1500),
            qdisc=dict.fromkeys(names, "noqueue"),
            sysctl={"net.ipv4.ip_forward": "1"},
            routes=frozenset(),
        )
        return cls(HostReading(0.0, 0, 0, 0, DaemonState.RUNNING), baseline)

    def host(self) -> HostReading | None:
        return self.reading

    def configuration(self) -> NodeBaseline:
        return self.baseline
