"""Resuming, replacing and counting, with a runner that keeps no mesh."""

import asyncio

import pytest

from models.errors import ConfigurationInvalid
from tests.bench.cells import Arm, Cell, plan
from tests.bench.crowd import run_all
from tests.bench.examples import SEED, record
from tests.bench.records import ATTEMPTS, Records, wanting

CELLS = plan(["grey", "loss"], [Arm.CONTROLLER, Arm.BABELD_1S], 2, seed=SEED)
CELL = CELLS[0]


class FakeRunner:
    """Ends each attempt at a cell as scripted, `counts` where nothing is; keeps what it was asked and how many ran."""

    def __init__(self, script=None):
        self.script = {cell: list(ends) for cell, ends in (script or {}).items()}
        self.asked = []
        self.running = 0
        self.most = 0

    async def __call__(self, cell):
        self.asked.append(cell)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        ends = self.script.get(cell)
        return record(cell, end=ends.pop(0) if ends else "counts")


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "report.json.trials.jsonl", seed=SEED)


async def test_every_cell_runs_once_and_is_told_and_written(records):
    runner, told = FakeRunner(), []
    await run_all(CELLS, records, runner, parallel=3, on_record=told.append)
    assert runner.asked == CELLS
    assert sorted(one.cell for one in told) == sorted(one.cell for one in records.read()) == sorted(CELLS)


async def test_no_more_run_at_a_time_than_asked(records):
    runner = FakeRunner()
    await run_all(CELLS, records, runner, parallel=3)
    assert runner.most == 3


async def test_a_second_run_goes_on_where_the_first_was_stopped(records):
    stuck = asyncio.Event()

    class SticksAtTheFourth(FakeRunner):
        async def __call__(self, cell):
            if len(self.asked) == 3:
                stuck.set()
                await asyncio.Event().wait()
            return await super().__call__(cell)

    first = asyncio.create_task(run_all(CELLS, records, SticksAtTheFourth(), parallel=1))
    await stuck.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [one.cell for one in records.read()] == CELLS[:3]
    again = FakeRunner()
    await run_all(CELLS, records, again, parallel=1)
    assert again.asked == CELLS[3:]


async def test_a_void_or_failed_trial_is_kept_and_replaced(records):
    runner = FakeRunner({CELL: ["void", "error"]})
    await run_all(CELLS, records, runner, parallel=1)
    assert [one.end for one in records.read() if one.cell == CELL] == ["void", "error", "counts"]
    assert runner.asked[-1] == CELL


async def test_a_place_that_voids_its_trial_every_time_is_given_up(records):
    runner = FakeRunner({CELL: ["void"] * 99})
    await run_all(CELLS, records, runner, parallel=2)
    assert runner.asked.count(CELL) == ATTEMPTS
    assert wanting(CELLS, records.read()) == []


def test_a_line_that_a_crash_cut_short_is_left_out_and_spoils_no_other(records, tmp_path):
    records.add(record(CELL))
    path = tmp_path / "report.json.trials.jsonl"
    with path.open("a") as file:
        file.write('{"case": "grey", "ar')
    assert [one.cell for one in records.read()] == [CELL]
    records.add(record(CELLS[1]))
    assert [one.cell for one in records.read()] == [CELL, CELLS[1]]


def test_what_is_written_is_read_back_whole(records):
    written = record(CELL, outage_s=2.5, wrong_left=1)
    records.add(written)
    assert records.read() == [written]


def test_a_run_with_another_seed_is_refused(records, tmp_path):
    records.add(record(CELL))
    with pytest.raises(ConfigurationInvalid, match="begun with seed 1"):
        Records(tmp_path / "report.json.trials.jsonl", seed=SEED + 1).read()


def test_a_damaged_file_is_refused_and_not_overwritten(records, tmp_path):
    path = tmp_path / "report.json.trials.jsonl"
    path.write_text("{}\n")
    with pytest.raises(ConfigurationInvalid, match="damaged"):
        records.read()
    assert path.read_text() == "{}\n"


def test_a_cell_with_attempts_left_is_wanted_until_it_counts():
    assert wanting([CELL], [record(CELL, end="void")]) == [CELL]
    assert wanting([CELL], [record(CELL, end="void"), record(CELL)]) == []
    assert wanting([Cell("mtu", Arm.CONTROLLER, 0)], [record(CELL)]) == [Cell("mtu", Arm.CONTROLLER, 0)]
