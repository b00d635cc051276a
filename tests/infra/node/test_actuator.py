"""The actuator's engine, its journal and its socket, over settings in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.node.actuator import ActuatorClient, ActuatorServer
from infra.node.hands import Hands
from infra.node.journal import FORGET_AFTER, Journal
from infra.node.verbs.base import ReadBack, integer, text
from models.errors import ConfigurationInvalid, NodeUnavailable, SourceUnavailable
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import Action, ActionReport, ActionState, Closing, ClosingOrder, Order, Verb
from tests.contracts.actuator import CHANGED, HEALTHY, LEASE, OTHER, ActuatorContract, Bench
from tests.fakes.node import FakeActuator, FakeClock

KEY = Ed25519PrivateKey.generate()


@dataclass
class SettingVerb:
    """SET_MTU on a file; `deaf` lets a write have no effect, `broken` makes it raise."""

    file: Path
    deaf: bool = False
    broken: bool = False
    stuck: bool = False
    writes: int = 0

    def __post_init__(self) -> None:
        if not self.file.exists():
            self.file.write_text(str(HEALTHY))

    def value(self) -> int:
        return int(self.file.read_text())

    def target(self, action: Action) -> str:
        return f"mtu:{text(action, 'interface')}"

    def check(self, action: Action) -> None:
        integer(action, "mtu", 576, 9216)

    def capture(self, action: Action) -> str:
        return str(self.value())

    def apply(self, action: Action) -> None:
        if self.broken:
            raise SourceUnavailable("the daemon", "it hangs")
        if not self.deaf:
            self.file.write_text(str(action.arguments["mtu"]))
            self.writes += 1

    def read_back(self, action: Action) -> ReadBack:
        return ReadBack(matches=self.value() == action.arguments["mtu"], state=str(self.value()))

    def undo(self, action: Action, before: str) -> ReadBack:
        if self.stuck:
            raise OSError(16, "busy")
        if str(self.value()) != before:
            self.file.write_text(before)
            self.writes += 1
        return ReadBack(matches=True, state=before)


@dataclass
class MemoryWorld:
    clock: FakeClock
    verb: SettingVerb

    def mtu(self) -> int:
        return self.verb.value()

    def writes(self) -> int:
        return self.verb.writes

    async def lapse(self, time: timedelta) -> None:
        self.clock.advance(time)


@dataclass
class HandsActuator:
    """The engine without its socket; settles before each look, as the server does all the time."""

    hands: Hands

    async def execute(self, signed: Signed) -> ActionReport:
        self.hands.settle()
        return self.hands.execute(signed)

    async def reports(self) -> tuple[ActionReport, ...]:
        self.hands.settle()
        return self.hands.reports()


@dataclass
class HandsWorld(MemoryWorld):
    hands: Hands | None = None

    async def lapse(self, time: timedelta) -> None:
        self.clock.advance(time)
        assert self.hands is not None
        self.hands.settle()


@dataclass
class ServedWorld(MemoryWorld):
    hands: Hands

    async def lapse(self, time: timedelta) -> None:
        await super().lapse(time)
        # The server looks four times a second, when the machine lets it.
        while any(one.lease_until and one.lease_until <= self.clock.now() for one in self.hands.reports()):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def opened(folder: Path, clock: FakeClock, verb: SettingVerb) -> Iterator[Hands]:
    journal = Journal(folder / "actuator.journal", clock.now())
    try:
        verbs = {Verb.SET_MTU: verb}
        yield Hands(NodeId("n0"), journal, verbs=verbs, public_key=KEY.public_key(), clock=clock)
    finally:
        journal.close()


@contextlib.contextmanager
def hands_bench(folder: Path) -> Iterator[tuple[Bench, SettingVerb]]:
    clock, verb = FakeClock(), SettingVerb(folder / "setting")
    with opened(folder, clock, verb) as hands:
        yield Bench(HandsActuator(hands), HandsWorld(clock, verb, hands), KEY), verb


class TestFakeActuator(ActuatorContract):
    @pytest.fixture
    def bench(self) -> Bench:
        clock = FakeClock()

        def refuses(order: Order) -> str:
            return "too small" if order.action.arguments["mtu"] == 1 else ""

        fake = FakeActuator(NodeId("n0"), KEY.public_key(), clock, {"set-mtu:to-n1": str(HEALTHY)}, refuses)

        @dataclass
        class FakeWorld:
            clock: FakeClock

            def mtu(self) -> int:
                return int(fake.settings["set-mtu:to-n1"])

            def writes(self) -> int:
                return fake.writes

            async def lapse(self, time: timedelta) -> None:
                self.clock.advance(time)
                await fake.reports()

        return Bench(fake, FakeWorld(clock), KEY)


class TestHands(ActuatorContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        with hands_bench(tmp_path) as (bench, _):
            yield bench


class TestServedHands(ActuatorContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        clock, verb = FakeClock(), SettingVerb(tmp_path / "setting")
        with opened(tmp_path, clock, verb) as hands:
            stop = asyncio.Event()
            server = asyncio.create_task(ActuatorServer(hands, tmp_path / "a.sock").run(stop))
            while not (tmp_path / "a.sock").exists():  # noqa: ASYNC110 - another program would look at the file, too
                await asyncio.sleep(0.01)
            yield Bench(ActuatorClient(tmp_path / "a.sock"), ServedWorld(clock, verb, hands), KEY)
            stop.set()
            await server
            # Ctrl-C leaves no lease.
            assert all(report.lease_until is None for report in hands.reports())

    async def test_socket_is_the_owners_alone(self, bench: Bench, tmp_path: Path):
        assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o600

    async def test_request_that_cannot_be_read_is_answered_and_does_not_end_the_server(self, bench: Bench, tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "a.sock")
        for nonsense in (b"\xff\n", b"[]\n", b'{"do":"format"}\n', b'{"do":"execute","payload":"!"}\n'):
            writer.write(nonsense)
            assert "error" in json.loads(await reader.readline())
        writer.write(b"x" * 100_000 + b"\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert await bench.actuator.reports() == ()


async def test_node_without_an_actuator_is_unavailable(tmp_path: Path):
    with pytest.raises(NodeUnavailable, match="n7"):
        await ActuatorClient(tmp_path / "none.sock", node=NodeId("n7")).reports()


async def test_actuator_that_never_answers_is_unavailable(tmp_path: Path):
    gone = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with await asyncio.start_unix_server(swallow, tmp_path / "a.sock"):
        with pytest.raises(NodeUnavailable, match="time-out"):
            await ActuatorClient(tmp_path / "a.sock", timeout_s=0.1).reports()
        await gone.wait()


async def test_change_without_effect_is_failed_and_undone(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        verb.deaf = True
        report = await bench.actuator.execute(bench.signed(bench.order()))
        assert report.state is ActionState.FAILED
        assert "no effect" in report.message
        assert bench.world.mtu() == HEALTHY


async def test_change_that_raises_is_failed_with_the_reason(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        verb.broken = True
        report = await bench.actuator.execute(bench.signed(bench.order()))
        assert report.state is ActionState.FAILED
        assert "it hangs" in report.message


async def test_undo_that_fails_is_tried_again_until_it_holds_and_shows_as_standing(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
        verb.stuck = True
        await bench.world.lapse(LEASE)
        assert [one.state for one in await bench.actuator.reports()] == [ActionState.APPLIED]
        verb.stuck = False
        await bench.world.lapse(timedelta(seconds=2))
        assert [one.state for one in await bench.actuator.reports()] == [ActionState.UNDONE]
        assert bench.world.mtu() == HEALTHY


async def test_verb_the_node_does_not_have_is_refused(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, _):
        order = bench.order()
        restart = replace(order, action=replace(order.action, verb=Verb.RESTART_DAEMON))
        assert await bench.state(restart) is ActionState.REFUSED


async def test_lease_longer_than_any_setting_allows_is_refused(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, _):
        assert await bench.state(replace(bench.order(), lease=timedelta(hours=1))) is ActionState.REFUSED


async def test_lease_that_ran_out_while_the_actuator_was_dead_is_undone_at_its_start(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
        clock = bench.world.clock
    clock.advance(LEASE)
    with opened(tmp_path, clock, verb) as hands:
        hands.settle()
        assert verb.value() == HEALTHY
        assert hands.reports()[0].state is ActionState.UNDONE


async def test_lease_still_running_survives_a_restart_and_can_be_committed(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
        clock = bench.world.clock
    with opened(tmp_path, clock, verb) as hands:
        hands.settle()
        assert verb.value() == CHANGED
        assert hands.execute(bench.signed(bench.closing(Closing.COMMIT))).state is ActionState.COMMITTED


async def test_newest_epoch_and_known_operations_survive_a_restart(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        first = bench.signed(bench.order(epoch=5))
        await bench.actuator.execute(first)
        await bench.state(bench.closing(Closing.UNDO, epoch=5))
    with opened(tmp_path, bench.world.clock, verb) as hands:
        assert hands.execute(first).state is ActionState.UNDONE
        assert hands.execute(bench.signed(bench.order("op-2", epoch=4))).state is ActionState.REFUSED
        assert verb.value() == HEALTHY


async def test_stopped_actuator_takes_back_what_is_not_committed_and_nothing_else(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
        await bench.state(bench.closing(Closing.COMMIT))
        await bench.state(bench.order("op-2", mtu=OTHER))
        bench.actuator.hands.withdraw()
        assert verb.value() == CHANGED
        states = [one.state for one in bench.actuator.hands.reports()]
        assert states == [ActionState.COMMITTED, ActionState.UNDONE]


async def test_torn_last_line_of_the_journal_is_what_a_crash_leaves(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
    with (tmp_path / "actuator.journal").open("ab") as file:
        file.write(b'{"epoch":9,"entr')
    with opened(tmp_path, bench.world.clock, verb) as hands:
        assert [one.state for one in hands.reports()] == [ActionState.APPLIED]


async def test_journal_that_cannot_be_read_says_which_line(tmp_path: Path):
    (tmp_path / "actuator.journal").write_bytes(b"garbage\n")
    with pytest.raises(ConfigurationInvalid, match="line 1"):
        Journal(tmp_path / "actuator.journal", FakeClock().now())


async def test_journal_forgets_closed_operations_but_never_a_standing_change(tmp_path: Path):
    with hands_bench(tmp_path) as (bench, verb):
        await bench.state(bench.order())
        await bench.state(bench.closing(Closing.COMMIT))
        await bench.state(bench.order("op-2", mtu=OTHER))
        await bench.state(bench.closing(Closing.UNDO, "op-2"))
        clock = bench.world.clock
    clock.advance(FORGET_AFTER + timedelta(hours=1))
    with opened(tmp_path, clock, verb) as hands:
        assert [one.operation for one in hands.reports()] == ["op-1"]
        assert hands.execute(bench.signed(bench.closing(Closing.UNDO))).state is ActionState.UNDONE
        assert verb.value() == HEALTHY


@settings(deadline=None)  # every step waits for the disk, whose speed is not what is tested
@given(steps=st.lists(st.sampled_from(["order", "other", "commit", "undo", "lapse", "restart", "stop"]), max_size=12))
def test_whatever_happens_the_setting_is_what_the_reports_say(steps: list[str]):
    """All or nothing: the setting equals the last standing change, or health when none stands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock, verb = FakeClock(), SettingVerb(folder / "setting")
        world = MemoryWorld(clock, verb)
        bench = Bench(FakeActuator(NodeId("n0"), KEY.public_key(), clock), world, KEY)
        count = 0
        with contextlib.ExitStack() as stack:
            hands = stack.enter_context(opened(folder, clock, verb))
            for step in steps:
                if step in {"order", "other"}:
                    count += 1
                    order = bench.order(f"op-{count}", mtu=CHANGED if step == "order" else OTHER)
                    hands.execute(bench.signed(order))
                elif step in {"commit", "undo"}:
                    closing: ClosingOrder = bench.closing(Closing(step), f"op-{count}")
                    hands.execute(bench.signed(closing))
                elif step == "lapse":
                    clock.advance(LEASE)
                elif step == "stop":
                    hands.withdraw()
                else:
                    stack.close()
                    hands = stack.enter_context(opened(folder, clock, verb))
                hands.settle()
                standing = [
                    one.after for one in hands.reports() if one.state in {ActionState.APPLIED, ActionState.COMMITTED}
                ]
                assert str(verb.value()) == (standing[-1] if standing else str(HEALTHY))


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_kill_nine_while_applying_ends_in_nothing_after_a_restart(tmp_path: Path, moment: str):
    """A real kill -9 of a real process, between the write-ahead line and the report."""
    clock = FakeClock()
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY.private_bytes_raw())
    script = textwrap.dedent(
        f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from tests.infra.node import test_actuator as here
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        here.KEY = Ed25519PrivateKey.from_private_bytes(Path({str(key_file)!r}).read_bytes())
        class Dying(here.SettingVerb):
            def apply(self, action):
                if {moment!r} != "before":
                    self.file.write_text("999" if {moment!r} == "half" else str(action.arguments["mtu"]))
                os.kill(os.getpid(), signal.SIGKILL)
        clock = here.FakeClock()
        with here.opened(Path({str(tmp_path)!r}), clock, Dying(Path({str(tmp_path / "setting")!r}))) as hands:
            world = here.MemoryWorld(clock, None)
            bench = here.Bench(None, world, here.KEY)
            hands.execute(bench.signed(bench.order()))
        """
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, env=os.environ.copy())
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    verb = SettingVerb(tmp_path / "setting")
    with opened(tmp_path, clock, verb) as hands:
        hands.settle()
        assert verb.value() == HEALTHY
        assert hands.reports()[0].state is ActionState.UNDONE
        bench = Bench(FakeActuator(NodeId("n0"), KEY.public_key(), clock), MemoryWorld(clock, verb), KEY)
        # The order comes again from the ledger: it was undone and does not act a second time.
        assert hands.execute(bench.signed(bench.order())).state is ActionState.UNDONE
        assert verb.value() == HEALTHY
