"""The made-up mesh is quiet until its link turns grey, and what is found then is that link."""

import pytest

from infra.lab.topology import Shape, mesh
from models.errors import ConfigurationInvalid
from tests.bench.scale import replayed, sizes, watch, watch_reports
from tests.bench.scale_mesh import Reports, grid


def test_the_grey_link_of_a_made_up_mesh_is_seen_and_named():
    looks = watch_reports(9, seed=1)
    links = mesh(Shape.GRID, 9, seed=1).links
    assert looks.named == f"link:{links[len(links) // 2].id}"
    assert looks.seen_s is not None
    assert 0 < looks.seen_s <= 4


def test_a_made_up_mesh_without_a_fault_shows_nothing():
    small = grid(6, seed=1)
    looks = watch(small, Reports(small, small.links[0], 1e9, 1).until(20), fault_s=12)
    assert looks.named is None
    assert looks.seen_s is None


def test_a_replay_looks_at_every_half_second():
    small = grid(6, seed=1)
    samples = [one for _, some in Reports(small, small.links[0], 1e9, 1).until(3) for one in some]
    assert len(replayed(small, sorted(samples, key=lambda one: one.at))) == 6


def test_a_grid_has_at_least_the_size_asked_for():
    assert [len(grid(size, seed=1).nodes) for size in (6, 20, 50, 1000)] == [6, 20, 56, 1023]


@pytest.mark.parametrize("given", ["5", "six", "6,,x", "251"])
def test_what_is_no_size_is_refused(given):
    with pytest.raises(ConfigurationInvalid, match="choose numbers"):
        sizes(given, most=250)
