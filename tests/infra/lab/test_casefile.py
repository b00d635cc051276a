from pathlib import Path

import pytest

from infra.lab.casefile import load_case, load_cases
from models.errors import ConfigurationInvalid

GOOD = """
id: Z01
title: A case
why: To be read.
steps:
  - order: {name: A}
  - pay: {for: A}
  - wait: 90s
expect:
  orders: {A: {state: SETTLED}}
"""


def written(folder: Path, text: str, name: str = "Z01") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_a_case_is_read_as_it_is_written(tmp_path):
    case = load_case(written(tmp_path, GOOD))
    assert [step.verb for step in case.steps] == ["order", "pay", "wait"]
    assert case.expect.orders["A"].state == ("SETTLED",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("wait: 90s", "wait: soon"), r"steps\.2\.wait: .*90s, 5m"),
        (GOOD.replace("for: A", "four: A"), r"steps\.1\.pay\.four"),
        (GOOD.replace("{for: A}", "{}"), r"steps\.1\.pay: .*amount"),
        (GOOD.replace("- wait: 90s", "- wait: 90s\n    scan: 1"), r"steps\.2: .*one thing"),
        (GOOD.replace("SETTLED", "PAID"), r"expect\.orders\.A\.state"),
        (GOOD.replace("id: Z01", "id: Z02"), "id: it says Z02"),
        (GOOD.replace("why: To be read.\n", ""), "why: Field required"),
        ("a: [", "is no YAML"),
        ("", "the file: "),
    ],
)
def test_a_mistake_is_told_with_its_file_and_field(tmp_path, wrong, said):
    path = written(tmp_path, wrong)
    with pytest.raises(ConfigurationInvalid, match=said) as caught:
        load_case(path)
    assert str(path) in str(caught.value)


def test_a_folder_without_cases_is_a_mistake(tmp_path):
    with pytest.raises(ConfigurationInvalid, match=r"holds no \*\.yaml"):
        load_cases(tmp_path)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        load_case(tmp_path / "Z09.yaml")
