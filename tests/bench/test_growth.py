"""What the growth bench makes of two databases looked at again and again."""

import pytest

from tests.bench.growth import Faults, Look, growth, rows

TABLE = "app.samples"


def look(at, count, *, inserted=0):
    return Look(at, {TABLE: count, "app.still": 1}, {TABLE: inserted, "app.still": 1}, {"app": 2_000_000})


def test_a_table_that_stopped_growing_meets_its_goal_and_one_that_did_not_misses_it():
    level = [look(at, min(at, 50), inserted=at) for at in range(101)]
    rising = [look(at, at, inserted=at) for at in range(101)]
    assert growth(level, TABLE) == 1.0
    assert growth(rising, TABLE) == pytest.approx(100 / 75, abs=0.001)
    assert [row.is_met for row in rows(level, Faults()) if row.metric == "growth"] == [True]
    assert [row.is_met for row in rows(rising, Faults()) if row.metric == "growth"] == [False]


def test_what_was_not_looked_at_long_enough_has_no_growth_and_so_misses_its_goal():
    found = rows([look(0, 1), look(60, 2, inserted=1)], Faults(1))
    assert {row.metric: row.is_met for row in found if row.case == TABLE}["growth"] is False


def test_a_day_s_inserts_are_those_of_the_run_as_long_as_it_was():
    looks = [look(0, 5, inserted=5), look(600, 9, inserted=15)]
    found = {row.metric: row.value for row in rows(looks, Faults()) if row.case == TABLE}
    assert found["inserted"] == 10 * 144
    assert found["rows"] == 9


def test_a_table_nothing_was_put_into_is_not_listed():
    assert "app.still" not in {row.case for row in rows([look(0, 1), look(60, 1)], Faults())}


def test_a_fault_that_was_not_healed_misses_the_goal_and_so_does_no_fault_at_all():
    looks = [look(0, 1), look(60, 1)]
    assert rows(looks, Faults(healed=3))[0].is_met
    assert rows(looks, Faults(healed=3, failures=["n0--n1: never"]))[0].is_met is False
    assert rows(looks, Faults())[0].is_met is False
