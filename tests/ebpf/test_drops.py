"""Reasons: named by the running kernel, sorted by name, and nothing guessed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf.drops import by_class, by_reason, drop_class, reason_name
from ebpf.libbpf import libbpf
from models.telemetry import DropClass, DropCount

NAMES = {2: "SKB_DROP_REASON_NOT_SPECIFIED", 3: "SKB_DROP_REASON_NO_SOCKET", 8: "SKB_DROP_REASON_NETFILTER_DROP"}


def test_a_reason_is_named_as_the_kernel_does_and_by_number_where_it_does_not():
    assert [reason_name(one, NAMES) for one in (3, 200)] == ["no_socket", "200"]


def test_only_what_was_dropped_is_told_and_the_last_row_is_everything_else():
    counts = np.zeros(256, dtype=np.uint64)
    counts[[3, 8, 255]] = [4, 5, 6]
    assert by_reason(counts, NAMES) == {"no_socket": 4, "netfilter_drop": 5, "other": 6}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("no_socket", DropClass.SOCKET),
        ("tcp_old_data", DropClass.SOCKET),
        ("tcp_csum", DropClass.DAMAGED),
        ("tcp_listen_overflow", DropClass.QUEUE),
        ("qdisc_overlimit", DropClass.QUEUE),
        ("netfilter_drop", DropClass.REFUSED),
        ("ip_innoroutes", DropClass.NO_ROUTE),
        ("neigh_failed", DropClass.NO_ROUTE),
        ("neigh_queuefull", DropClass.QUEUE),
        ("not_specified", DropClass.OTHER),
        ("200", DropClass.OTHER),
        ("a_reason_of_next_year", DropClass.OTHER),
    ],
)
def test_a_name_has_one_class(name, kind):
    assert drop_class(name) is kind


@given(
    st.dictionaries(st.sampled_from(["no_socket", "netfilter_drop", "tcp_csum", "77", "qdisc_drop"]), st.integers(1))
)
def test_classes_add_up_to_the_reasons(reasons):
    classes = by_class(reasons)
    assert sum(one.packets for one in classes) == sum(reasons.values())
    assert all(one.packets for one in classes)
    assert len({one.reason for one in classes}) == len(classes)


def test_one_class_sums_its_reasons():
    assert by_class({"no_socket": 1, "tcp_reset": 2, "xdp": 3}) == (
        DropCount(DropClass.REFUSED, 3),
        DropCount(DropClass.SOCKET, 3),
    )


@pytest.mark.kernel
def test_the_running_kernel_names_its_reasons(since_5_17):
    reasons = libbpf().kernel_enum("skb_drop_reason")
    assert {"SKB_DROP_REASON_NO_SOCKET", "SKB_DROP_REASON_NOT_SPECIFIED"} <= set(reasons.values())


@pytest.mark.kernel
def test_what_the_kernel_does_not_have_is_said(kernel):
    with pytest.raises(OSError, match="No such file"):
        libbpf().kernel_enum("there is none")
