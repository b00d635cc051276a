from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.alerts import Alerts, encode, encoding, usual

QUIET = Alerts(
    elements=("web1", "web2", "db"),
    metrics=(("web1", "cpu_core_3_pct", "up"), ("web1", "cpu_core_4_pct", "up")),
    calls=(("web1", "db", "http://10.0.0.9:3306/query", "PD"),),
    logs=(("db", "db-17"),),
)


def cells(alerts: Alerts, *others: Alerts, of_these: bool = False) -> dict[tuple[str, str], float]:
    normal, into = usual(others or (alerts,)), encoding((alerts, *others))
    values = encode(alerts, into, normal=normal, of_these=of_these)
    return {
        (who, spec.name): values[i, k]
        for i, who in enumerate(alerts.elements)
        for k, spec in enumerate(into.signals)
        if values[i, k]
    }


def test_a_kind_covers_every_core_and_every_address():
    found = cells(QUIET)
    assert found["web1", "metric cpu_core_#_pct up"] == 2
    assert found["db", "call in PD /query"] == found["web1", "call out PD /query"] == 1
    assert found["db", "log 17"] == 1
    assert not any("web" in name or "10." in name for _, name in found)


def test_what_an_element_always_shows_is_less_news_than_what_it_never_showed():
    new = replace(QUIET, logs=(*QUIET.logs, ("web2", "web2-99")))
    found = cells(new, QUIET, QUIET, QUIET)
    assert found["web2", "newest log"] > 3 * found["db", "newest log"] > 0


def test_what_is_usual_and_does_not_show_is_missing():
    found = cells(replace(QUIET, logs=()), QUIET, QUIET, QUIET)
    # Three of three showed it: 3.5 of 4 by Laplace's rule.
    assert found["db", "missing log"] == pytest.approx(-np.log(1 - 3.5 / 4))
    assert ("web1", "missing log") not in found


def test_an_incident_is_no_evidence_of_what_is_usual_in_itself():
    asked = replace(QUIET, logs=(("db", "db-99"),))
    before = cells(asked, QUIET, QUIET)
    among = cells(asked, QUIET, QUIET, asked, of_these=True)
    assert among["db", "newest log"] == pytest.approx(before["db", "newest log"])


def test_who_alone_is_named_bears_the_whole_blame():
    calls = (
        ("web1", "db", "q", "PD"),
        ("web2", "db", "q", "PD"),
        ("web2", "web1", "q", "500"),
        ("-1", "web2", "/", "PD"),
    )
    found = cells(replace(QUIET, calls=calls))
    assert found["db", "callers any"] == 2
    assert found["db", "blamed any"] == 1.5  # web1 names nobody else, web2 one more
    assert found["db", "end any"] == 2  # and itself names nobody
    assert ("web1", "end any") not in found
    assert found["web2", "callers PD"] == 1  # from outside


def test_an_alert_that_nobody_knows_still_counts():
    into = encoding((QUIET,))
    strange = replace(QUIET, metrics=(("web2", "gpu_heat", "sideways"),), logs=())
    values = encode(strange, into, normal=usual((QUIET,) * 9), of_these=False)
    place = {spec.name: k for k, spec in enumerate(into.signals)}
    assert values[1, place["count any"]] == 1
    assert values[1, place["newest any"]] > 2
    assert values[0, place["newest any"]] < 1


def test_names_of_elements_do_not_matter():
    other = Alerts(
        elements=("a", "b", "c"),
        metrics=(("a", "cpu_core_3_pct", "up"), ("a", "cpu_core_4_pct", "up")),
        calls=(("a", "c", "/query", "PD"),),
        logs=(("c", "c-17"),),
    )
    one, two = (encode(x, encoding((x,)), normal=usual((x,)), of_these=True) for x in (QUIET, other))
    assert np.array_equal(one, two)
