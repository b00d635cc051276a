"""A node's /metrics with real programs, in namespaces of the test's own."""

import socket
import urllib.request
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.node.place import LinkEnd, NodePlace
from tasks.collection import open_counters, open_tracing, serve_metrics
from tests.ebpf.conftest import inside, kernel, objects, pair  # noqa: F401  # fixtures
from tests.ebpf.test_tracing import _send_to_nobody


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.kernel
def test_metrics_of_a_node_show_its_programs_its_drops_and_what_it_cannot_measure(pair, tmp_path):  # noqa: F811  # a fixture
    end = LinkEnd(
        interface="end", address="10.9.0.1", peer="b", peer_address="10.9.0.2", peer_loopback="10.9.9.9", cost=96
    )
    place = NodePlace(mesh="x0-ebpf", node="a", address="10.9.9.8", netns=pair.a, folder=tmp_path, links=(end,))
    port = _free_port()
    with (
        closing(inside(pair.a, lambda: open_counters(place))) as counters,
        closing(inside(pair.a, lambda: open_tracing(place))) as tracing,
    ):
        stop = serve_metrics(place, counters, tracing, port=port)
        try:
            inside(pair.a, _send_to_nobody)
            # The server listens on this machine, outside of the node's namespace, and reads its counts all the same.
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        finally:
            stop()
    shown = {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}
    assert shown["ebpf_drops_total", ("reason", "no_socket")] >= 1
    assert shown[("ebpf_tcp_retransmits_total",)] == 0
    assert shown["ebpf_signal_missing", ("signal", "syscalls")] == 1
    attached = {dict(labels)["program"]: value for (name, *labels), value in shown.items() if "attached" in name}
    assert attached["count_ingress"] == attached["count_egress"] == 1
    assert sum(value for program, value in attached.items() if program.startswith(("drop", "retransmit", "state"))) == 3
    assert attached["syscall"] == 0
    assert len(families) == len({one.name for one in families})
