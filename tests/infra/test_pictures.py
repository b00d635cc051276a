"""A drawn picture is well-formed, says the cause, and carries no mark-up that came with a name."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.pictures import COLOURS, svg
from models.mesh import Element, Interface, Link, LinkId, Mesh, Node, NodeId
from models.picture import Role, picture_of
from tests.infra.api.world import MESH, cause
from tests.models.test_picture import GREY, UNKNOWN, story
from tests.models.test_picture import MESH as RING

SVG = "{http://www.w3.org/2000/svg}"


def words(drawn: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(drawn).iter(f"{SVG}text")]  # noqa: S314 - our own text


def test_says_the_cause_and_how_sure_first():
    said = words(svg(picture_of(story(GREY, UNKNOWN), RING)))
    assert said[:2] == ["link n1--n2: grey", "40 of 40 packets lost"]
    assert "80 %" in said[:4]
    assert {"Causes, and how sure", "Symptoms in time", "Signals that decided"} <= set(said)


def test_the_root_has_a_colour_of_its_own():
    drawn = svg(picture_of(story(GREY, UNKNOWN), RING))
    assert drawn.count(f'stroke="{COLOURS[Role.ROOT]}"') == 1


@settings(max_examples=30, deadline=None)
@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40))
def test_no_name_can_break_the_picture_or_bring_mark_up(name):
    mesh = Mesh("m", (Node(NodeId(name), "10.0.0.1"), Node(NodeId("b"), "10.0.0.2")), (
        Link(LinkId(f"{name}--b"), Interface(NodeId(name), "x"), Interface(NodeId("b"), "y"), 1),
    ))  # fmt: skip
    ill = replace(cause(), element=Element.of_link(LinkId(f"{name}--b")), subject=name)
    tree = ET.fromstring(svg(picture_of(story(ill), mesh)))  # noqa: S314 - our own text
    known = {"svg", "title", "style", "rect", "text", "line", "circle", "g"}
    assert {one.tag.removeprefix(SVG) for one in tree.iter()} <= known


def test_a_script_in_a_name_stays_a_word():
    ill = replace(cause(), element=Element.of_link(LinkId("<script>alert(1)</script>")))
    drawn = svg(picture_of(story(ill), MESH))
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
