"""What every InterfaceCounters promises."""

from models.telemetry import Direction


class InterfaceCountersContract:
    """Subclass once per implementation; supply `counters` over `interfaces` and a `send` that makes each count one."""

    def test_reads_every_interface_in_name_order(self, counters, interfaces):
        assert [one.name for one in counters.read()] == sorted(interfaces)

    def test_counts_begin_at_zero_and_grow_with_traffic(self, counters, send):
        before = _packets(counters)
        send()
        after = _packets(counters)
        assert before == 0
        assert after > before

    def test_each_kind_of_traffic_has_one_row_and_no_row_is_empty(self, counters, send):
        send()
        for reading in counters.read():
            kinds = [(row.direction, row.traffic, row.size, row.protocol) for row in reading.counts]
            assert len(set(kinds)) == len(kinds)
            assert all(row.packets > 0 and row.bytes > 0 for row in reading.counts)

    def test_both_directions_are_told_apart(self, counters, send):
        send()
        seen = {row.direction for reading in counters.read() for row in reading.counts}
        assert seen == set(Direction)

    def test_carrier_and_mtu_are_the_kernels(self, counters):
        for reading in counters.read():
            assert reading.has_carrier
            assert reading.carrier_changes >= 0
            assert reading.mtu >= 68  # the least that IPv4 allows

    def test_reading_does_not_reset(self, counters, send):
        send()
        assert _packets(counters) <= _packets(counters)

    def test_missing_signals_are_named(self, counters):
        assert all(isinstance(one, str) and one for one in counters.missing())

    def test_closing_twice_is_safe_and_ends_reading(self, counters):
        counters.close()
        counters.close()
        assert counters.read() == ()


def _packets(counters):
    return sum(row.packets for reading in counters.read() for row in reading.counts)
