"""Asking the kernel about links over a socket that stays in its namespace."""

import pytest

from ebpf.netlink import RouteSocket
from infra.node.netns import entered
from tests.ebpf.conftest import inside, run


@pytest.fixture
def routes():
    opened = RouteSocket()
    yield opened
    opened.close()


def test_describes_an_interface(routes):
    found = routes.link("lo")
    assert (found.index, found.name, found.hardware) == (1, "lo", 772)
    assert found.has_carrier


def test_an_interface_that_is_not_there_is_none(routes):
    assert routes.link("nothing") is None


def test_closing_twice_is_safe(routes):
    routes.close()
    routes.close()


@pytest.mark.kernel
def test_stays_in_the_namespace_it_was_opened_in(pair):
    run("ip", "-n", pair.a, "link", "set", "end", "mtu", "1300")
    opened = inside(pair.a, RouteSocket)
    with entered(pair.b):
        assert opened.link("end").mtu == 1300
    opened.close()
