"""What a page shows of a sample: names in which promtool finds nothing to mend, and nothing where there is none."""

from __future__ import annotations

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from ebpf.exposition import CountersExposition
from ebpf.page import page
from ebpf.sample_page import sample_families
from models.telemetry import Sample
from tests.contracts.sample_reader import full
from tests.ebpf.test_exposition import FixedCounters
from tests.infra.deploy.tools import tool


def shown(sample: Sample | None) -> dict[str, list[dict[str, str]]]:
    families = text_string_to_metric_families(page(sample_families(sample)).decode())
    return {one.name: [dict(row.labels) for row in one.samples] for one in families}


def test_promtool_finds_nothing_to_mend():
    sample = full()
    counters = CountersExposition(FixedCounters(*sample.interfaces), now=lambda: sample.at)
    text = page([*counters.families(), *sample_families(sample)])
    done = subprocess.run([tool("promtool"), "check", "metrics"], check=False, input=text, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_every_metric_is_named_before_there_is_a_sample_and_shows_nothing():
    before, after = shown(None), shown(full())
    assert before.keys() == after.keys()
    assert not any(before.values())
    assert all(after.values())


def test_labels_are_those_of_the_nodes_place_or_closed_sets():
    labels = {label for rows in shown(full()).values() for row in rows for label in row}
    in_place, closed = {"interface", "peer", "target"}, {"kind", "size", "resource", "state", "reason"}
    of_drifts = {"subject", "expected", "actual"}
    assert labels == in_place | closed | of_drifts
