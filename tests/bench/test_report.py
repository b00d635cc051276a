"""The object that a benchmark writes keeps the shape that others read."""

import io
import json
from datetime import UTC, datetime

from rich.console import Console

from tests.bench.report import Machine, Report, Row, commit, goal_lines, machine, show

MET = Row(case="grey", metric="outage_p95", unit="s", value=3.1, n=30, peers={"routing alone": 50.0}, goal=5)
MISSED = MET.model_copy(update={"value": 7.0})
REPORT = Report(
    bench="healing",
    commit="c0ffee",
    machine=Machine(cpu="a cpu", cores=2, kernel="6.1", python="3.11"),
    seed=7,
    started=datetime(2026, 3, 1, 12, tzinfo=UTC),
    rows=(MET,),
    notes=("a note",),
)


def test_the_file_holds_one_object_with_the_promised_names(tmp_path):
    REPORT.write(tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"bench", "commit", "machine", "seed", "started", "rows"} <= set(found)
    assert set(found["machine"]) == {"cpu", "cores", "kernel", "python"}
    promised = {
        "case": "grey",
        "metric": "outage_p95",
        "unit": "s",
        "value": 3.1,
        "n": 30,
        "goal": 5,
        "better": "lower",
    }
    assert promised.items() <= found["rows"][0].items()
    assert found["rows"][0]["peers"] == {"routing alone": 50.0}
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_what_did_not_finish_is_null_and_meets_no_goal():
    row = MET.model_copy(update={"value": None})
    assert json.loads(row.model_dump_json())["value"] is None
    assert row.is_met is False


def test_a_goal_is_met_on_its_better_side_and_exactly_at_it():
    assert MET.is_met
    assert not MISSED.is_met
    assert MET.model_copy(update={"value": 5.0}).is_met
    share = Row(case="grey", metric="right_element", unit="share", value=0.9, n=20, goal=0.9, better="higher")
    assert share.is_met
    assert not share.model_copy(update={"value": 0.85}).is_met


def test_a_figure_without_a_goal_spoils_no_report():
    informs = MET.model_copy(update={"goal": None, "value": None})
    assert informs.is_met is None
    assert REPORT.model_copy(update={"rows": (MET, informs)}).is_met
    assert not REPORT.model_copy(update={"rows": (MET, MISSED)}).is_met


def test_people_read_figures_peers_notes_and_which_goals_are_met():
    text = io.StringIO()
    show(REPORT.model_copy(update={"rows": (MET, MISSED)}), Console(file=text, width=160))
    for part in ("grey", "outage_p95 (s)", "routing alone", "50", "note: a note"):
        assert part in text.getvalue()
    met, missed = goal_lines((MET, MISSED))
    assert met.startswith("met ")
    assert missed == "NOT MET  grey outage_p95: 7 s, goal <= 5, n=30"


def test_this_machine_and_this_commit_are_named():
    assert machine().cores > 0
    assert machine().cpu
    assert commit()
