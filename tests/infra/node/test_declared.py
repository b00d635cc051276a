"""What one machine each was told about itself adds up to one mesh, or is refused with the file to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.lab import routing
from infra.lab.topology import Shape
from infra.lab.topology import mesh as shaped
from infra.node.declared import mesh_of, read_places
from infra.node.place import NodePlace
from models.errors import ConfigurationInvalid


@pytest.fixture(params=Shape)
def declared(request, tmp_path):
    return shaped(request.param, 6, name="lab")


def places_of(mesh, state):
    return tuple(routing.place(mesh, node.id, state=state) for node in mesh.nodes)


def test_the_places_of_a_lab_add_up_to_the_mesh_it_was_built_from(declared, tmp_path):
    found = mesh_of("lab", places_of(declared, tmp_path))
    assert found.nodes == declared.nodes
    assert set(found.links) == set(declared.links)


def test_no_places_are_a_mesh_without_nodes():
    assert mesh_of("west", ()).nodes == ()


@pytest.mark.parametrize("change", [{"cost": 7}, {"peer_address": "10.9.9.9"}, {"peer": "n9"}])
def test_a_link_whose_ends_do_not_say_the_same_is_refused_by_name(change, tmp_path):
    first, *others = places_of(shaped(Shape.LINE, 3, name="lab"), tmp_path)
    changed = first.model_copy(update={"links": (first.links[0].model_copy(update=change), *first.links[1:])})
    with pytest.raises(ConfigurationInvalid, match="declares a link to"):
        mesh_of("lab", (changed, *others))


def test_two_links_between_the_same_nodes_are_refused(tmp_path):
    first, *others = places_of(shaped(Shape.LINE, 3, name="lab"), tmp_path)
    with pytest.raises(ConfigurationInvalid, match="two links"):
        mesh_of("lab", (first.model_copy(update={"links": first.links * 2}), *others))


def write(folder: Path, place: NodePlace, *, stem: str) -> None:
    (folder / f"{stem}.json").write_text(place.model_dump_json())


def test_places_are_read_in_order_of_their_names(tmp_path):
    places = places_of(shaped(Shape.LINE, 3, name="lab"), tmp_path)
    for place in reversed(places):
        write(tmp_path, place, stem=place.node)
    assert read_places(tmp_path, mesh="lab") == places
    assert read_places(tmp_path / "nowhere", mesh="lab") == ()


@pytest.mark.parametrize(("stem", "mesh"), [("n1", "lab"), ("n0", "other")])
def test_the_place_of_another_node_or_mesh_is_refused(stem, mesh, tmp_path):
    write(tmp_path, places_of(shaped(Shape.LINE, 2, name="lab"), tmp_path)[0], stem=stem)
    with pytest.raises(ConfigurationInvalid, match="is the place of node n0 of mesh lab"):
        read_places(tmp_path, mesh=mesh)
