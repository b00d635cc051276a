"""The fakes keep the contracts of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.node.place import LinkEnd, NodePlace, Reach
from tests.contracts.prober import ProberBench, ProberContract
from tests.contracts.senses import SensesContract
from tests.fakes.node import FakeProber, FakeSenses


def place(folder: Path) -> NodePlace:
    end = LinkEnd(interface="to-b", address="1", peer="b", peer_address="2", peer_loopback="3", cost=96)
    return NodePlace(
        mesh="m", node="a", address="0", folder=folder, links=(end,), reach=(Reach(node="b", address="3"),)
    )


class TestFakeSenses(SensesContract):
    @pytest.fixture
    def senses(self, tmp_path: Path) -> FakeSenses:
        return FakeSenses.healthy(place(tmp_path))


class TestFakeProber(ProberContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> ProberBench:
        prober = FakeProber(place(tmp_path))

        async def elapse() -> None:
            prober.beat()

        return ProberBench(prober, elapse, lambda: prober.lose.update({"to-b", "b"}))
