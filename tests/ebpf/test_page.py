"""The page is what `prometheus_client` would write, and a scrape over HTTP gets it."""

import gzip
import http.client
import socket
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ebpf.page import CONTENT_TYPE, Family, metric, page
from ebpf.page_server import serve
from models.errors import KernelRefused


class _Fixed(Collector):
    def __init__(self, *families):
        self._families = families

    def collect(self):
        yield from map(metric, self._families)


def _read(text):
    return {
        (one.name, *sorted(one.labels.items())): (family.type, family.documentation, one.value)
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def _by_the_library(*families):
    registry = CollectorRegistry()
    registry.register(_Fixed(*families))
    return _read(generate_latest(registry))


NUMBERS = st.integers(0, 2**53) | st.floats(0, 1e300)
# The parser trims the lines of the page, so no odd line ends; everything else that may be in an interface's name.
VALUES = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=15) | st.sampled_from(['"', "\\", "%s", "a\nb"])


@given(
    rows=st.dictionaries(st.tuples(VALUES, VALUES), NUMBERS, max_size=5),
    counts=st.dictionaries(st.tuples(VALUES), st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=3),
)
def test_the_page_says_what_the_library_would(rows, counts):
    packets = Family("x_packets_total", "counter", "Packets, 50 % of \\ them.", ("interface", "kind"))
    level = Family("x_level", "gauge", "How high.")
    took = Family("x_took_seconds", "histogram", "How long.", ("call",), ("0.5", "+Inf"))
    for values, number in rows.items():
        packets.add(values, number)
    level.add((), 7)
    for values, numbers in counts.items():
        took.add(values, *numbers)
    assert _read(page((packets, level, took))) == _by_the_library(packets, level, took)


def test_a_histogram_ends_in_its_sum_and_its_count():
    took = Family("x_took_seconds", "histogram", "How long.", ("call",), ("0.5", "+Inf"))
    took.add(("read",), 3, 5, 1.25)
    assert page((took,)).decode() == (
        "# HELP x_took_seconds How long.\n# TYPE x_took_seconds histogram\n"
        'x_took_seconds_bucket{call="read",le="0.5"} 3\n'
        'x_took_seconds_bucket{call="read",le="+Inf"} 5\n'
        'x_took_seconds_sum{call="read"} 1.25\n'
        'x_took_seconds_count{call="read"} 5\n'
    )


def test_a_metric_without_series_is_announced_all_the_same():
    assert page((Family("x_level", "gauge", "How high."),)) == b"# HELP x_level How high.\n# TYPE x_level gauge\n"


def test_a_series_whose_number_changed_shows_the_new_one():
    def shown(number):
        family = Family("x_level", "gauge", "How high.", ("where",))
        family.add(("here",), number)
        return page((family,)).splitlines()[-1]

    assert (shown(1), shown(2.5)) == (b'x_level{where="here"} 1', b'x_level{where="here"} 2.5')


@contextmanager
def _served(write, *, address="127.0.0.1"):
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as free:
        port = free.getsockname()[1]
    stop = serve(write, address=address, port=port)
    try:
        yield port
    finally:
        stop()


def _scraped(port, *, address="127.0.0.1", **headers):
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "identity"} | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_scrape_gets_the_page_of_that_moment():
    pages = iter((b"x 1\n", b"x 2\n"))
    with _served(lambda: next(pages)) as port:
        status, headers, content = _scraped(port)
        assert (status, headers["Content-Type"], content) == (200, CONTENT_TYPE, b"x 1\n")
        assert _scraped(port)[2] == b"x 2\n"


def test_whoever_takes_it_compressed_gets_it_compressed():
    with _served(lambda: b"x 1\n" * 1000) as port:
        status, headers, content = _scraped(port, **{"Accept-Encoding": "deflate, gzip"})
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert len(content) < 200
        assert gzip.decompress(content) == b"x 1\n" * 1000


def test_what_cannot_be_read_is_an_error_that_says_why_and_the_next_scrape_is_answered():
    answers = iter((None, b"x 1\n"))

    def write():
        content = next(answers)
        if content is None:
            raise KernelRefused("reading a map", "not today")
        return content

    with _served(write) as port:
        status, _, content = _scraped(port)
        assert status == 500
        assert b"not today" in content
        assert _scraped(port)[2] == b"x 1\n"


def test_it_is_served_over_ipv6_too():
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with _served(lambda: b"x 1\n", address="::1") as port:
        assert _scraped(port, address="::1")[2] == b"x 1\n"


def test_stopping_ends_its_thread_and_frees_the_port():
    with _served(lambda: b"") as port:
        pass
    assert not any(one.name == "metrics" for one in threading.enumerate())
    with pytest.raises(ConnectionRefusedError):
        _scraped(port)
