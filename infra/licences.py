"""A licence as text: a compact JWS (RFC 7515) signed with Ed25519 (RFC 8037), checked with the public key alone.

    eyJhbGciOiJFZERTQSIsInR5cCI6Ingw...  .  eyJkZXZpY2VzIjoyLCJleHAiOjE3...  .  signature

One header is taken, byte for byte: whoever could choose another one could choose how the text is checked.
docs/licences.md lists the claims.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.node.signing import create_key
from models.errors import ConfigurationInvalid, LicenceInvalid
from models.ledger import IssuedLicence
from models.payment import OrderId

PRIVATE_NAME = "licence.key"
PUBLIC_NAME = "licence.pub"
ISSUER = "x0tta6bl4"
# The type keeps a licence from passing for any other thing that a key of ours might ever sign.
HEADER = b'{"alg":"EdDSA","typ":"x0-licence"}'
# Ours are some 350 characters; whoever sends more has pasted something else.
LONGEST = 2048
PARTS = 3


class _Claims(BaseModel):
    """What the text says; names as RFC 7519 has them where it has them. Fields in order of their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    devices: int = Field(ge=1)
    exp: int
    iat: int
    iss: str = Field(pattern=f"^{ISSUER}$")
    jti: str = Field(min_length=1)
    plan: str
    sub: str = Field(min_length=1)


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise LicenceInvalid("it was altered or torn on the way; copy all of it") from error
    if _encoded(content) != part:
        # Spare bits and padding would give one licence several spellings.
        raise LicenceInvalid("it was altered or torn on the way; copy all of it")
    return content


class LicenceSigner:
    """Writes licences. Only the control host holds the key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def text_of(self, licence: IssuedLicence) -> str:
        """Write a licence; the same licence is the same text, byte for byte."""
        claims = _Claims(
            devices=licence.devices,
            exp=int(licence.expires_at.timestamp()),
            iat=int(licence.issued_at.timestamp()),
            iss=ISSUER,
            jti=licence.id,
            plan=licence.plan,
            sub=licence.order,
        )
        payload = json.dumps(claims.model_dump(), sort_keys=True, separators=(",", ":")).encode()
        signed = f"{_encoded(HEADER)}.{_encoded(payload)}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode()))}"

    def verifier(self) -> LicenceVerifier:
        """Return what reads these licences."""
        return LicenceVerifier(self._key.public_key())


class LicenceVerifier:
    """Reads licences with the public key alone. Whether one was taken back since, only the ledger knows."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def read(self, text: str) -> IssuedLicence:
        """Return what a genuine licence says; blanks and line breaks that a chat put in are no alteration.

        Raises:
            LicenceInvalid: it is not ours, or not as we wrote it.
        """
        text = "".join(text.split())
        if len(text) > LONGEST or not text.isascii() or text.count(".") != PARTS - 1:
            raise LicenceInvalid("a licence is one line of letters with two dots in it")
        signed, _, signature = text.rpartition(".")
        header, _, payload = signed.partition(".")
        if header != _encoded(HEADER):
            raise LicenceInvalid("its first part is not that of a licence")
        try:
            self._key.verify(_decoded(signature), signed.encode())
        except InvalidSignature as error:
            raise LicenceInvalid("our key did not sign it, or it was altered") from error
        try:
            claims = _Claims.model_validate_json(_decoded(payload))
            issued_at, expires_at = (datetime.fromtimestamp(one, UTC) for one in (claims.iat, claims.exp))
        except (ValidationError, ValueError, OverflowError, OSError) as error:  # the last two: a year beyond calendars
            raise LicenceInvalid("our key signed it, but it says nothing that this version knows") from error
        return IssuedLicence(
            id=claims.jti,
            order=OrderId(claims.sub),
            plan=claims.plan,
            devices=claims.devices,
            issued_at=issued_at,
            expires_at=expires_at,
        )


def create_licence_key(folder: Path) -> Path:
    """Make `licence.key` (raw, owner only) and `licence.pub` unless they exist; return the private key's path.

    An existing key is never replaced: every licence sold would stop opening anything.
    """
    return create_key(folder, private_name=PRIVATE_NAME, public_name=PUBLIC_NAME)


def load_signer(path: Path) -> LicenceSigner:
    """Read `licence.key`.

    Raises:
        ConfigurationInvalid: it is missing or not 32 raw bytes.
    """
    try:
        return LicenceSigner(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(f"{path} is no licence key ({error})", "`x0tta6bl4 up` makes one") from error


def load_verifier(path: Path) -> LicenceVerifier:
    """Read `licence.pub`.

    Raises:
        ConfigurationInvalid: it is missing or not 32 raw bytes.
    """
    try:
        return LicenceVerifier(Ed25519PublicKey.from_public_bytes(path.read_bytes()))
    except (OSError, ValueError) as error:
        mend = "copy licence.pub from the state folder of the shop, or name it with --key"
        raise ConfigurationInvalid(f"{path} is no licence key ({error})", mend) from error
