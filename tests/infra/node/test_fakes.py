"""The fakes keep the contracts of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.node.place import LinkEnd, NodePlace, Reach
from tests.contracts.prober import ProberBench, ProberContract
from tests.fakes.node import FakeProber


class TestFakeProber(ProberContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> ProberBench:
        end = LinkEnd(interface="to-b", address="1", peer="b", peer_address="2", peer_loopback="3", cost=96)
        reach = Reach(node="b", address="3")
        prober = FakeProber(NodePlace(mesh="m", node="a", address="0", folder=tmp_path, links=(end,), reach=(reach,)))

        async def elapse() -> None:
            prober.beat()

        return ProberBench(prober, elapse, lambda: prober.lose.update({"to-b", "b"}))
