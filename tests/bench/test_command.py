"""`x0tta6bl4 bench NAME` finds the benchmarks and refuses what is none."""

import sys

import pytest

from flows.commands.bench import command
from models.errors import ConfigurationInvalid
from tests.bench.cells import CASES, Arm
from tests.bench.healing import chosen


@pytest.mark.parametrize("name", ["ebpf", "healing", "payments", "quiet"])
def test_a_benchmark_is_a_module_that_gets_all_further_options(name):
    assert command(name, ["--json", "f"]) == [sys.executable, "-m", f"tests.bench.{name}", "--json", "f"]


@pytest.mark.parametrize("name", ["report", "no-such", "../healing"])
def test_what_is_no_benchmark_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigurationInvalid, match=r"choose one of .*healing.* quiet"):
        command(name, [])


def test_where_the_tests_are_not_shipped_it_says_so(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="run this from a clone"):
        command("healing", [], root=tmp_path)


def test_faults_and_arms_are_chosen_by_name_and_a_wrong_one_is_told():
    assert chosen("grey, loss,grey", known=tuple(CASES), otherwise=("mtu",)) == ("grey", "loss")
    assert chosen("", known=tuple(Arm), otherwise=(Arm.CONTROLLER,)) == (Arm.CONTROLLER,)
    with pytest.raises(ConfigurationInvalid, match="there is no gray; choose from grey"):
        chosen("gray", known=tuple(CASES), otherwise=())
