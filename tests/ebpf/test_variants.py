"""Alternatives are told by name."""

from ebpf.variants import PREFERENCE, signal_of, variants


def test_alternatives_are_grouped_by_signal_in_order_of_preference_and_parts_stay_together():
    names = ["drop__tp", "drop__tp_btf", "call__kprobe__exit", "call__kprobe__enter", "call__raw_tp__enter", "count"]
    found = variants(names)
    assert found == {
        "drop": {"tp_btf": ("drop__tp_btf",), "tp": ("drop__tp",)},
        "call": {"raw_tp": ("call__raw_tp__enter",), "kprobe": ("call__kprobe__enter", "call__kprobe__exit")},
    }
    assert list(found["drop"]) == [one for one in PREFERENCE if one in found["drop"]]


def test_a_name_without_a_double_underscore_has_no_signal():
    assert signal_of("count_ingress") == ""
    assert signal_of("drop__tp_btf") == "drop"
