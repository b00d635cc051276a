"""What the growth bench makes of two databases looked at again and again."""

from tests.bench.growth import Faults, Look, rows

TABLE = "app.samples"


def look(at, count, *, inserted=0, oldest=0.0):
    return Look(
        at, {TABLE: count, "app.still": 1}, {TABLE: inserted, "app.still": 1}, {"app": 2_000_000}, {TABLE: oldest}
    )


def is_forgotten(seconds, oldest):
    found = rows([look(0, 1), look(seconds, 2, inserted=1, oldest=oldest)], Faults(1))
    return {(row.case, row.metric): row.is_met for row in found}[TABLE, "oldest"]


def test_a_table_whose_oldest_row_is_young_enough_meets_its_goal_and_one_that_forgets_nothing_misses_it():
    assert is_forgotten(7500, oldest=3900)
    assert is_forgotten(7500, oldest=7400) is False


def test_what_did_not_run_long_enough_to_forget_shows_nothing_and_so_misses_the_goal():
    assert is_forgotten(600, oldest=500) is False


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
