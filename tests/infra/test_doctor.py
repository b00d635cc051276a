"""The doctor: each miss comes with its mend."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from infra.doctor import TOOLS, Finding, exit_code, postgres, servers, state_folder, tools
from infra.settings import Settings


def test_finds_a_program_and_names_the_package_of_a_missing_one(tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = {one.name: one for one in tools(str(tmp_path))}
    assert found["nft"] == Finding("nft", ok=True, found=str(program), mend="")
    assert not found["babeld"].ok
    assert "apt-get install babeld" in found["babeld"].mend
    assert len(found) == len(TOOLS)


def test_takes_the_newest_postgres(tmp_path: Path) -> None:
    for version in ("14", "16"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch()
    assert postgres(tmp_path).found == str(tmp_path / "16" / "bin")


def test_says_how_to_get_postgres(tmp_path: Path) -> None:
    assert postgres(tmp_path).mend == "apt-get install postgresql-15 postgresql-contrib"


def test_a_state_folder_is_judged_by_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert state_folder(Settings(state=tmp_path / "a" / "b")).ok


async def test_a_server_that_answers_is_well_and_a_silent_one_is_named_with_its_mend() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.port == 4200:
            return httpx.Response(200)
        raise httpx.ConnectError("refused", request=request)

    prefect, gateway = await servers(Settings(), transport=httpx.MockTransport(answer))
    assert prefect.ok
    assert (gateway.ok, gateway.mend) == (False, "start `x0tta6bl4 up`")


@pytest.mark.parametrize(("required", "code"), [(True, 1), (False, 0)])
def test_only_a_required_miss_fails(*, required: bool, code: int) -> None:
    assert exit_code([Finding("x", ok=False, found="", mend="y", is_required=required)]) == code
