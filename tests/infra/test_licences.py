"""A licence as text: what any JOSE library would make of it, and nothing else is taken for one."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.licences import (
    HEADER,
    LicenceSigner,
    _encoded,
    create_licence_key,
    load_signer,
    load_verifier,
)
from models.errors import ConfigurationInvalid, LicenceInvalid
from models.ledger import IssuedLicence
from models.payment import OrderId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = LicenceSigner(KEY)
READER = SIGNER.verifier()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LICENCE = IssuedLicence("lic-ord-1", OrderId("ord-1"), "month", 2, NOW, NOW + timedelta(days=30))
TEXT = SIGNER.text_of(LICENCE)


def resigned(payload: bytes, header: bytes = HEADER) -> str:
    """Write any content, signed with the true key."""
    signed = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{signed}.{_encoded(KEY.sign(signed.encode()))}"


def test_a_licence_is_read_as_it_was_written_and_written_again_it_is_the_same_text():
    assert READER.read(TEXT) == LICENCE
    assert SIGNER.text_of(READER.read(TEXT)) == TEXT
    assert len(TEXT) < 400


def test_the_claims_are_those_of_the_document():
    payload = TEXT.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims == {
        "devices": 2,
        "exp": 1_774_958_400,
        "iat": 1_772_366_400,
        "iss": "x0tta6bl4",
        "jti": "lic-ord-1",
        "plan": "month",
        "sub": "ord-1",
    }
    document = (Path(__file__).parents[2] / "docs" / "licences.md").read_text()
    assert HEADER.decode() in document
    assert [name for name in claims if f"`{name}`" not in document] == []


def test_the_encoding_and_the_signature_are_those_of_rfc_8037():
    """Its appendix A.4, to the letter."""
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    signed = ".".join(_encoded(part) for part in (b'{"alg":"EdDSA"}', b"Example of Ed25519 signing"))
    text = f"{signed}.{_encoded(Ed25519PrivateKey.from_private_bytes(secret).sign(signed.encode()))}"
    assert text == (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d"
        "WbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_blanks_and_line_breaks_of_a_chat_are_no_alteration():
    assert READER.read(f" {TEXT[:60]}\n {TEXT[60:200]}\r\n\t{TEXT[200:]}\n") == LICENCE


@given(st.integers(0, len(TEXT) - 1), st.sampled_from("ABCabc0189-_.=+/ é"))
def test_a_text_with_one_letter_changed_is_refused(place: int, letter: str):
    altered = TEXT[:place] + letter + TEXT[place + 1 :]
    if altered == TEXT:
        return
    with pytest.raises(LicenceInvalid):
        READER.read(altered)


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda one: base64.urlsafe_b64encode(one).decode() + ".."))
def test_what_is_no_licence_is_refused_in_a_sentence_and_never_otherwise(text: str):
    with pytest.raises(LicenceInvalid, match="this is no licence of ours"):
        READER.read(text)


def test_another_keys_licence_is_refused():
    with pytest.raises(LicenceInvalid, match="our key did not sign it"):
        READER.read(LicenceSigner(Ed25519PrivateKey.generate()).text_of(LICENCE))


@pytest.mark.parametrize(
    "header", [b'{"alg":"none"}', b'{"alg":"HS256","typ":"x0-licence"}', b'{"alg":"EdDSA"}', HEADER + b" "]
)
def test_no_other_header_is_taken_even_signed_by_our_key(header: bytes):
    payload = base64.urlsafe_b64decode(TEXT.split(".")[1] + "==")
    assert READER.read(resigned(payload)) == LICENCE
    with pytest.raises(LicenceInvalid, match="first part"):
        READER.read(resigned(payload, header))


@pytest.mark.parametrize(
    "changed",
    [
        {"devices": 0},
        {"devices": "2"},
        {"exp": 1.5},
        {"exp": 10**18},
        {"iss": "somebody"},
        {"jti": ""},
        {"extra": 1},
        {"plan": None},
    ],
)
def test_claims_that_this_version_does_not_know_are_refused_though_our_key_signed_them(changed: dict[str, object]):
    claims = json.loads(base64.urlsafe_b64decode(TEXT.split(".")[1] + "==")) | changed
    with pytest.raises(LicenceInvalid, match="nothing that this version knows"):
        READER.read(resigned(json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()))


def test_licences_that_differ_have_texts_that_differ():
    others = (
        replace(LICENCE, id="lic-2"),
        replace(LICENCE, devices=3),
        replace(LICENCE, expires_at=NOW + timedelta(days=31)),
    )
    assert len({TEXT, *(SIGNER.text_of(one) for one in others)}) == 4


def test_the_key_is_made_once_for_its_owner_alone_and_is_not_the_control_key(tmp_path: Path):
    path = create_licence_key(tmp_path)
    assert path == tmp_path / "licence.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = load_signer(path).text_of(LICENCE)
    assert create_licence_key(tmp_path) == path
    assert load_verifier(tmp_path / "licence.pub").read(text) == LICENCE
    assert sorted(one.name for one in tmp_path.iterdir()) == ["licence.key", "licence.pub"]


def test_a_missing_or_torn_key_is_said_with_its_mend(tmp_path: Path):
    (tmp_path / "torn").write_bytes(b"short")
    for load, mend in ((load_signer, "x0tta6bl4 up"), (load_verifier, "--key")):
        for name in ("torn", "missing"):
            with pytest.raises(ConfigurationInvalid, match=f"{name} is no licence key.*{mend}"):
                load(tmp_path / name)
