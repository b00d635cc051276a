"""The made-up mesh is quiet until its link turns grey, which is then found; and no finished part is lost."""

import subprocess
import sys

import pytest

from infra.lab.topology import Shape, mesh
from models.errors import ConfigurationInvalid
from models.mesh import NodeId
from tests.bench.records import Lines
from tests.bench.report import ROOT
from tests.bench.scale import sizes
from tests.bench.scale_mesh import Reports, grid
from tests.bench.scale_parts import Asked, Kind, Part, notes, plan, rows, wanting
from tests.bench.scale_watch import LOOKS, beside_made_up, replayed, watch, watch_regions, watch_reports

SEED = 1
LAB, BESIDE = Asked(Kind.LAB, 6, 0), Asked(Kind.REPORTED, 6, 0)


def part(asked: Asked, error: str = "", **more) -> Part:
    told = {"commit": "c0ffee", "wall_s": 1, "load": 2.0} | more
    return Part(kind=asked.kind, size=asked.size, number=asked.number, seed=SEED, error=error, **told)


def test_the_grey_link_of_a_made_up_mesh_is_seen_and_named():
    looks = watch_reports(9, seed=1)
    links = mesh(Shape.GRID, 9, seed=1).links
    assert looks.named == f"link:{links[len(links) // 2].id}"
    assert looks.seen_s is not None
    assert 0 < looks.seen_s <= 4
    assert len(looks.look_ms) == len(looks.look_fault_ms) == LOOKS


def test_a_made_up_mesh_without_a_fault_shows_nothing():
    small = grid(6, seed=1)
    looks = watch(small, Reports(small, small.links[0], 1e9, 1).until(20), fault_s=12)
    assert looks.named is None
    assert looks.seen_s is None


def test_the_grey_link_is_seen_by_the_region_that_watches_it():
    looks = watch_regions(12, seed=1, most_nodes=3)
    assert looks.regions == 4
    assert len(looks.look_ms) == 4
    assert looks.seen_s is not None
    assert 0 < looks.seen_s <= 4


def test_reports_of_some_nodes_are_those_they_send_among_all():
    small = grid(6, seed=1)
    reports = Reports(small, small.links[0], 1, 1)
    some = [one for _, samples in reports.until(2, nodes={NodeId("n4")}) for one in samples]
    assert some == [one for _, samples in reports.until(2) for one in samples if one.node == "n4"]
    assert some


def test_a_replay_looks_at_every_half_second():
    small = grid(6, seed=1)
    samples = [one for _, some in Reports(small, small.links[0], 1e9, 1).until(3) for one in some]
    stored = sorted(samples, key=lambda one: one.at)
    assert len(replayed(small, stored)) == 6
    found = beside_made_up(small, stored, stored[0].at, stored[-1].at)
    assert list(found) == ["look_ms", "look_fault_ms", "look_to_made_up"]
    assert all(one is not None and one > 0 for one in found.values())


@pytest.mark.parametrize("size", [6, 20, 50, 1000])
def test_a_grid_has_the_size_asked_for_and_every_node_of_it_a_link(size):
    made = grid(size, seed=1)
    assert len(made.nodes) == size
    assert all(made.links_of(node.id) for node in made.nodes)


@pytest.mark.parametrize("given", ["5", "six", "6,,x", "251"])
def test_what_is_no_size_is_refused(given):
    with pytest.raises(ConfigurationInvalid, match="choose numbers from 6 to 250"):
        sizes(given, "6", least=6, most=250)


def test_an_empty_list_is_none_and_no_list_is_the_usual_one():
    assert sizes("", "6,20", least=6, most=None) == ()
    assert sizes(None, "6,20", least=6, most=None) == (6, 20)


def test_made_up_reports_stand_beside_each_lab_and_everything_is_measured_once_before_anything_twice():
    asked = plan({Kind.LAB: (20, 6), Kind.REPORTED: (50,)}, times=2)
    first = [one for one in asked if one.number == 0]
    assert [(one.kind, one.size) for one in first] == [
        *((Kind.REPORTED, size) for size in (6, 20, 50)),
        *((Kind.LAB, size) for size in (6, 20)),
    ]
    assert asked[: len(first)] == first
    assert len(asked) == 2 * len(first)


def test_a_finished_part_is_not_measured_again_and_one_that_failed_is(tmp_path):
    kept = Lines(tmp_path / "report.json.parts.jsonl", Part, seed=SEED)
    kept.add(part(BESIDE))
    kept.add(part(LAB, error="no lab"))
    assert wanting([BESIDE, LAB], kept.read()) == [LAB]
    kept.add(part(LAB))
    assert wanting([BESIDE, LAB], kept.read()) == []


def test_parts_of_another_seed_are_refused(tmp_path):
    path = tmp_path / "report.json.parts.jsonl"
    Lines(path, Part, seed=SEED).add(part(LAB))
    with pytest.raises(ConfigurationInvalid, match=f"begun with seed {SEED}"):
        Lines(path, Part, seed=SEED + 1).read()


def test_the_made_up_figure_stands_beside_the_labs_and_a_size_without_a_lab_in_a_row_of_its_own():
    alone = Asked(Kind.REPORTED, 50, 0)
    parts = [
        part(LAB, figures={"look_ms": 7.0, "cores": 0.5}),
        part(BESIDE, figures={"look_ms": 6.0}),
        part(alone, figures={"look_ms": 40.0}),
    ]
    found = {(row.case, row.metric): row for row in rows([LAB, BESIDE, alone], parts)}
    assert found["6 nodes", "look_ms"].peers == {"made-up reports": 6.0}
    assert found["6 nodes", "cores"].peers == {}
    assert found["50 nodes, made-up reports", "look_ms"].value == 40.0
    assert len(found) == 3


def test_a_figure_is_the_median_and_one_that_did_not_finish_is_not_hidden_by_others():
    times = [Asked(Kind.LAB, 6, number) for number in range(3)]
    found = rows(
        times, [part(one, figures={"outage": value}) for one, value in zip(times, (9.0, 1.0, 2.0), strict=True)]
    )
    assert [(row.value, row.n) for row in found] == [(2.0, 3)]
    found = rows(
        times, [part(one, figures={"outage": value}) for one, value in zip(times, (9.0, 1.0, None), strict=True)]
    )
    assert [(row.value, row.n) for row in found] == [(None, 3)]


def test_failures_and_parts_nobody_asked_for_enter_no_row_and_notes_tell_of_them():
    parts = [
        part(LAB, error="no lab", commit="facade"),
        part(BESIDE, figures={"look_ms": 6.0}, load=9.0),
        part(Asked(Kind.LAB, 20, 0), figures={"look_ms": 1.0}),
    ]
    assert [row.case for row in rows([LAB, BESIDE], parts)] == ["6 nodes, made-up reports"]
    said = " ".join(notes([LAB, BESIDE], parts))
    assert "6 nodes, time 1 failed: no lab" in said
    assert "1 of 2 parts have no figures" in said
    assert "several commits: c0ffee, facade" in said
    assert "2.0 to 9.0" in said


def test_a_run_that_is_started_again_goes_on_and_writes_the_same_figures(tmp_path):
    path = tmp_path / "scale.json"
    command = [sys.executable, "-m", "tests.bench.scale", "--json", str(path), "--reported", "6"]
    command += ["--lab", "", "--regions", "", "--telemetry", ""]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = path.read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "6 nodes, made-up reports, time 1" in first.stdout
    assert "time 1" not in again.stdout
    assert report.partition('"rows"')[2] == path.read_text().partition('"rows"')[2]
