"""What a node's senses promise: a baseline in shape, and no opinion of their own."""

from __future__ import annotations

from infra.node.drift import drifts
from models.ports import HostSenses


class SensesContract:
    """What every HostSenses promises of healthy node a with its one link `to-b`. Subclass; supply `senses`."""

    def test_configuration_is_shaped_like_a_baseline(self, senses: HostSenses):
        now = senses.configuration()
        assert now.node == "a"
        assert now.version == 0
        assert now.recorded_at.tzinfo is not None
        assert (set(now.mtu), set(now.qdisc)) == ({"to-b"}, {"to-b"})
        assert now.sysctl["net.ipv4.ip_forward"] == "1"
        assert now.routes == frozenset()

    def test_nothing_changed_is_no_drift(self, senses: HostSenses):
        assert drifts(senses.configuration(), senses.configuration()) == ()

    def test_host_reading_is_within_its_bounds_and_only_grows(self, senses: HostSenses):
        first, second = senses.host(), senses.host()
        assert first is not None
        assert second is not None
        assert 0 <= second.cpu_pressure <= 1
        assert second.forwarded >= first.forwarded
