"""What the start bench makes of the starts it saw."""

from tests.bench.start import AGAIN, FIRST, rows

QUICK = {"ready": 20.0, "ui": 12.0, "first_sample": 25.0}
SLOW = {"ready": 31.0, "ui": 12.0, "first_sample": 61.0}


def test_the_slowest_later_start_is_what_the_goals_are_about():
    met = {row.metric: row.is_met for row in rows(SLOW, [QUICK, QUICK]) if row.case == AGAIN}
    assert met == {"ready": True, "ui": True, "first_sample": True}
    missed = {row.metric: row.is_met for row in rows(QUICK, [QUICK, SLOW]) if row.case == AGAIN}
    assert missed == {"ready": False, "ui": True, "first_sample": False}


def test_the_first_start_only_informs():
    assert [row.is_met for row in rows(SLOW, [QUICK]) if row.case == FIRST] == [None, None, None]


def test_no_later_start_meets_nothing():
    assert not any(row.is_met for row in rows(QUICK, []) if row.case == AGAIN)
