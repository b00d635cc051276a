from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from infra.datasets.petshop import load_petshop
from infra.datasets.rcaeval import load_rcaeval
from infra.datasets.tvdiag import load_tvdiag
from models.errors import DatasetInvalid
from models.snapshot import SignalKind


def write(path: Path, text: str, *, packed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def petshop(root: Path, *, packed: bool) -> None:
    head = "m,web,web,db\nmetric,latency,requests,latency\nstatistic,Average,Sum,Average\nunix_timestamp,,,\n"
    write(root / "low/noissue/metrics.csv", head + "900000,.1,5,.01\n900300,.2,6,.02\n", packed=packed)
    write(root / "low/graph.csv", ",web,db\nweb,0.0,1.0\ndb,0.0,0.0\n", packed=packed)
    write(root / "low/test/issue_0/metrics.csv", head + "1000,.1,5,.01\n1300,.9,,.8\n1600,.9,7,.8\n", packed=packed)
    target = {"node": "web", "metric": "latency", "agg": "Average", "timestamp": 1200}
    write(root / "low/test/issue_0/target.json", json.dumps({"target": target, "root_cause": {"node": "db"}}))


@pytest.mark.parametrize("packed", [False, True])
def test_petshop_is_read_plain_or_packed(tmp_path, packed):
    petshop(tmp_path, packed=packed)
    (case,) = load_petshop(tmp_path)
    snapshot = case.snapshot
    assert (case.name, case.roots, case.side) == ("low/test/issue_0", ("db",), "test")
    assert snapshot.elements == ("db", "web")
    assert snapshot.edges.tolist() == [[1, 0]]  # web calls db
    assert (snapshot.split, snapshot.target, snapshot.trigger) == (2, 1, 3)  # the first row that ends after the alarm
    assert snapshot.signals[snapshot.target_signal].name == "latency Average"
    assert snapshot.values[3, 1, 0] == 0.9
    assert np.isnan(snapshot.values[3, 1, 6])  # an empty cell is not measured


def test_petshop_without_its_normal_time_is_refused(tmp_path):
    with pytest.raises(DatasetInvalid, match="noissue"):
        load_petshop(tmp_path)


def test_petshop_says_which_file_is_damaged(tmp_path):
    petshop(tmp_path, packed=False)
    write(tmp_path / "low/noissue/metrics.csv", "m,web\nmetric\n")
    with pytest.raises(DatasetInvalid, match=r"noissue/metrics\.csv"):
        load_petshop(tmp_path)


def rcaeval(root: Path) -> Path:
    folder = root / "db_cpu_hog/0"
    write(folder / "data.csv", "time,db_cpu,web_latency-90\n0,1,.1\n60,1,.1\n120,9,.5\n", packed=True)
    write(folder / "inject_time.txt", "120\n")
    write(folder / "graph.csv", "caller,callee\nweb,db\nweb,10.0.0.1\nghost,db\n")
    return folder


def test_rcaeval_is_read_with_services_that_only_call(tmp_path):
    rcaeval(tmp_path)
    (case,) = load_rcaeval(tmp_path)
    snapshot = case.snapshot
    assert (case.roots, case.fault, case.group) == (("db",), "cpu_hog", "db")
    assert snapshot.elements == ("db", "ghost", "web")  # the address is no service
    assert {(snapshot.elements[i], snapshot.elements[j]) for i, j in snapshot.edges} == {("web", "db"), ("ghost", "db")}
    assert snapshot.split == 2
    assert np.isnan(snapshot.values[:, 1]).all()
    assert snapshot.signals[1].kind is SignalKind.LATENCY


def test_a_metrics_name_tells_what_it_counts_and_who_measures_it(tmp_path):
    rcaeval(tmp_path)
    names = "db_PodClientLatencyP90(s),db_PodServerLatencyP90(s),db_load,db_cpu-load,db_request-total,db_odd,db_diskio"
    write(tmp_path / "db_cpu_hog/0/data.csv", f"time,{names}\n0,1,1,1,1,1,1,1\n120,1,1,1,1,1,1,1\n", packed=True)
    specs = {one.name: one for one in load_rcaeval(tmp_path)[0].snapshot.signals}
    assert specs["PodClientLatencyP90(s)"].outward
    assert not specs["PodServerLatencyP90(s)"].outward
    assert specs["load"].kind is specs["request-total"].kind is SignalKind.RATE
    assert specs["cpu-load"].kind is specs["odd"].kind is SignalKind.GAUGE
    assert specs["cpu-load"].worse == 1
    assert specs["diskio"].kind is SignalKind.GAUGE  # what a processor reads or writes is no request to it


def test_a_shifted_alarm_moves_the_split(tmp_path):
    rcaeval(tmp_path)
    assert load_rcaeval(tmp_path, shift_s=-60)[0].snapshot.split == 1


def test_an_injection_outside_of_the_rows_is_refused(tmp_path):
    write(rcaeval(tmp_path) / "inject_time.txt", "9999")
    with pytest.raises(DatasetInvalid, match="outside"):
        load_rcaeval(tmp_path)


def test_a_cell_that_is_no_number_is_refused(tmp_path):
    write(rcaeval(tmp_path) / "inject_time.txt", "noon")
    with pytest.raises(DatasetInvalid, match="'noon' is no number"):
        load_rcaeval(tmp_path)


def test_tvdiag_counts_alerts_and_forgets_names(tmp_path):
    raw = {
        "metrics": [["a", "10.0.0.1", "cpu", "up"], ["b", "cpu", "up"]],
        "traces": [["a", "b", "/x", "PD"], ["a", "b", "/y", "PD"], ["b", "b", "/y", "500"], ["-1", "a", "/", "PD"]],
        "logs": [["b", "b-17"]],
        "nodes": ["a", "b"],
        "edges": [[0, 1], [0, 1]],
    }
    for name, one in raw.items():
        write(tmp_path / f"raw/{name}.json", json.dumps({"7": one}), packed=True)
    write(tmp_path / "label.csv", "index,instance,anomaly_type,data_type\n7,b,[oom],train\n")
    (case,) = load_tvdiag(tmp_path)
    seen = {
        (case.snapshot.elements[i], case.snapshot.signals[s].name): case.snapshot.values[0, i, s]
        for _, i, s in np.argwhere(case.snapshot.values)
        if case.snapshot.signals[s].unit == "1"
    }
    assert seen == {
        ("a", "metric cpu up"): 1, ("b", "metric cpu up"): 1, ("a", "call out PD /x"): 1, ("a", "call out PD /y"): 1,
        ("b", "call in PD /x"): 1, ("b", "call in PD /y"): 1, ("b", "call self 500 /y"): 1, ("a", "call in PD /"): 1,
        ("b", "log 17"): 1,
    }  # fmt: skip
    assert case.snapshot.edges.tolist() == [[0, 1]]
    assert case.fault == "oom"


def test_tvdiag_counts_what_is_usual_in_the_training_side_alone(tmp_path):
    incidents = {"1": "train", "2": "train", "3": "test", "4": "test"}
    for name in ("metrics", "traces", "edges"):
        write(tmp_path / f"raw/{name}.json", json.dumps({index: [] for index in incidents}))
    write(tmp_path / "raw/nodes.json", json.dumps({index: ["a"] for index in incidents}))
    write(tmp_path / "raw/logs.json", json.dumps({"1": [["a", "7"]], "2": [], "3": [["a", "7"]], "4": [["a", "7"]]}))
    rows = "".join(f"{index},a,oom,{side}\n" for index, side in incidents.items())
    write(tmp_path / "label.csv", "index,instance,anomaly_type,data_type\n" + rows)
    cases = load_tvdiag(tmp_path)
    news = [spec.name for spec in cases[0].snapshot.signals].index("newest log")
    assert cases[2].snapshot.values[0, 0, news] == pytest.approx(-np.log(1.5 / 3))  # one of two, by Laplace's rule
    assert cases[0].snapshot.values[0, 0, news] == pytest.approx(-np.log(0.5 / 2))  # none but itself


@pytest.mark.parametrize(("row", "said"), [(["a", 17], None), (["a", ["b"]], "no name"), (["a", None], "no name")])
def test_tvdiag_takes_a_template_that_is_a_number_and_refuses_what_is_no_name(tmp_path, row, said):
    for name, one in {"metrics": [], "traces": [], "logs": [row], "nodes": ["a"], "edges": []}.items():
        write(tmp_path / f"raw/{name}.json", json.dumps({"1": one}))
    write(tmp_path / "label.csv", "index,instance,anomaly_type,data_type\n1,a,oom,train\n")
    if said is None:
        (case,) = load_tvdiag(tmp_path)
        assert "log 17" in {spec.name for spec in case.snapshot.signals}
        return
    with pytest.raises(DatasetInvalid, match=said):
        load_tvdiag(tmp_path)


def test_tvdiag_refuses_labels_without_alerts(tmp_path):
    for name in ("metrics", "traces", "logs", "nodes", "edges"):
        write(tmp_path / f"raw/{name}.json", "{}")
    write(tmp_path / "label.csv", "index,instance,anomaly_type,data_type\n7,b,x,train\n")
    with pytest.raises(DatasetInvalid, match="do not fit"):
        load_tvdiag(tmp_path)
