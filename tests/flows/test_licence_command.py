"""`x0tta6bl4 licence ...`: offline with a key alone, and against the ledger."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli
from flows.commands import licence
from infra.access import earn
from infra.licences import create_licence_key, load_signer
from infra.settings import Settings
from models.errors import ConfigurationInvalid, LicenceRefused
from models.ledger import IssuedLicence
from models.payment import OrderId
from tests.fakes.store import FakeStore
from tests.infra.test_access import settled

DAY = timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's state folder, with a licence key."""
    monkeypatch.setenv("X0_STATE", str(tmp_path))
    create_licence_key(tmp_path)
    return tmp_path


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the command under test reads the same clock


def text(state: Path, **more: object) -> str:
    issued = IssuedLicence("lic-o1", OrderId("o1"), "month", 2, now(), now() + 30 * DAY)
    return load_signer(state / "licence.key").text_of(replace(issued, **more))


def typed(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command as it is run from a shell; its exit code and its words on standard error."""
    monkeypatch.setattr(sys, "argv", ["x0tta6bl4", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0), capsys.readouterr().err


def test_a_genuine_licence_is_said_to_be_one_and_the_command_ends_with_0(state: Path):
    told = CliRunner().invoke(cli.app, ["licence", "verify", text(state)])
    assert told.exit_code == 0
    assert told.output.startswith("genuine: lic-o1, plan month, 2 devices, until ")


def test_the_public_key_alone_is_enough(state: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "licence.pub"
    elsewhere.write_bytes((state / "licence.pub").read_bytes())
    given = text(state)
    (state / "licence.key").unlink()
    (state / "licence.pub").unlink()
    told = CliRunner().invoke(cli.app, ["licence", "verify", given, "--key", str(elsewhere), "--json"])
    assert json.loads(told.output)["id"] == "lic-o1"


def test_an_altered_or_expired_licence_ends_with_1_and_the_reason(state: Path, monkeypatch, capsys):
    given = text(state)
    altered = given[:-9] + ("A" if given[-9] != "A" else "B") + given[-8:]
    code, said = typed("licence", "verify", altered, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, "this is no licence of ours" in said) == (1, True)
    old = text(state, issued_at=now() - 2 * DAY, expires_at=now() - DAY)
    code, said = typed("licence", "verify", old, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, "it expired on" in said) == (1, True)


def test_a_missing_key_ends_with_2_and_its_mend(state: Path, monkeypatch, capsys):
    words = ["licence", "verify", text(state), "--key", str(state / "nothing.pub")]
    code, said = typed(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, "copy licence.pub" in said) == (2, True)


async def test_a_licence_is_activated_shown_released_and_taken_back(state: Path):
    store, settings = FakeStore(), Settings(gateway_node="n0")
    sale = await settled(store, now())
    async with store.unit() as unit:
        issued = await earn(unit, sale, now=now())
    given = load_signer(state / "licence.key").text_of(issued)
    admission = await licence.let_in(given, "10.45.0.2", store=store, settings=settings)
    assert (admission.node, admission.until) == ("n0", issued.expires_at)
    assert [one.address for one in (await licence.look_up(given, store=store, settings=settings)).admissions] == [
        "10.45.0.2"
    ]
    assert await licence.let_out(given, "10.45.0.2", store=store, settings=settings)
    taken_back = await licence.take_back("lic-o1", reason="charged back", by="cli:root", store=store, settings=settings)
    assert "taken back" in licence.told(taken_back)
    with pytest.raises(LicenceRefused, match="taken back"):
        await licence.let_in(given, "10.45.0.2", store=store, settings=settings)


async def test_without_a_key_nothing_is_looked_up(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match=r"licence\.pub"):
        await licence.look_up("x.y.z", store=FakeStore(), settings=Settings(state=tmp_path))
