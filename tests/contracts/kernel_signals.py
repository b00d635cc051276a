"""What every KernelSignals promises."""

NAMES = {"drops", "retransmits", "tcp-states", "syscalls"}


class KernelSignalsContract:
    """Subclass once per implementation; supply `signals` and a `disturb` that makes the network drop a packet."""

    def test_what_is_measured_has_a_number_and_what_is_not_is_named(self, signals, disturb):
        assert signals.missing() <= NAMES
        disturb()
        reading = signals.read()
        assert (reading.drops is None) == ("drops" in signals.missing())
        assert (reading.retransmits is None) == ("retransmits" in signals.missing())
        if "syscalls" in signals.missing():
            assert reading.syscall_p99_us is None

    def test_drops_grow_and_are_told_once_for_each_class(self, signals, disturb):
        before = _dropped(signals)
        disturb()
        reading = signals.read()
        assert sum(one.packets for one in reading.drops) > before
        kinds = [one.reason for one in reading.drops]
        assert len(set(kinds)) == len(kinds)
        assert all(one.packets > 0 for one in reading.drops)

    def test_reading_does_not_reset(self, signals, disturb):
        disturb()
        assert _dropped(signals) <= _dropped(signals)

    def test_closing_twice_is_safe_and_ends_reading(self, signals):
        signals.close()
        signals.close()
        reading = signals.read()
        assert (reading.drops, reading.retransmits, reading.syscall_p99_us) == (None, None, None)


def _dropped(signals):
    return sum(one.packets for one in signals.read().drops)
