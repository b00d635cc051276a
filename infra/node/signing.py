"""The control key: what makes an order an order.

The signature covers the exact bytes that travel, so nothing is re-encoded before it is checked. The payload names its
kind, so that a signed order can never be read as a signed closing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from models.errors import ConfigurationInvalid, OrderRefused
from models.ports import Signed
from models.remedy import ClosingOrder, Order

PRIVATE_NAME = "control.key"
PUBLIC_NAME = "control.pub"


@dataclass(frozen=True)
class _OrderEnvelope:
    kind: Literal["order"]
    body: Order


@dataclass(frozen=True)
class _ClosingEnvelope:
    kind: Literal["closing"]
    body: ClosingOrder


_ENVELOPE: TypeAdapter[_OrderEnvelope | _ClosingEnvelope] = TypeAdapter(_OrderEnvelope | _ClosingEnvelope)


def encode(order: Order | ClosingOrder) -> bytes:
    """Write an order as canonical JSON: sorted keys, no blanks, ISO 8601 times; the same order is the same bytes."""
    envelope = _OrderEnvelope("order", order) if isinstance(order, Order) else _ClosingEnvelope("closing", order)
    return json.dumps(_ENVELOPE.dump_python(envelope, mode="json"), sort_keys=True, separators=(",", ":")).encode()


def decode(payload: bytes) -> Order | ClosingOrder:
    """Read what `encode` wrote.

    Raises:
        OrderRefused: it is neither an order nor a closing order, or its expiry names no time zone.
    """
    try:
        order = _ENVELOPE.validate_json(payload).body
    except ValidationError as error:
        raise OrderRefused(f"the payload is no order ({error.error_count()} faults in it)") from error
    if order.expires_at.tzinfo is None:
        raise OrderRefused("its expiry names no time zone")
    return order


def verify(signed: Signed, public_key: Ed25519PublicKey) -> Order | ClosingOrder:
    """Return what was signed, and only if the control key signed it.

    Raises:
        OrderRefused: the signature is not the control key's over these bytes, or they are no order.
    """
    try:
        public_key.verify(signed.signature, signed.payload)
    except InvalidSignature as error:
        raise OrderRefused("the control key did not sign it") from error
    return decode(signed.payload)


class Ed25519Signer:
    """The control side's signer."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, order: Order | ClosingOrder) -> Signed:
        """Sign the canonical JSON of `order`."""
        payload = encode(order)
        return Signed(payload=payload, signature=self._key.sign(payload))


def create_key(folder: Path, *, private_name: str = PRIVATE_NAME, public_name: str = PUBLIC_NAME) -> Path:
    """Make a private key (raw, owner only) and its public half (raw) unless they exist; the control key by default.

    Returns:
        The private key's path. An existing key is never replaced: every node would stop listening.
    """
    folder.mkdir(parents=True, exist_ok=True)
    private = folder / private_name
    try:
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = load_private_key(private)
    else:
        key = Ed25519PrivateKey.generate()
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes_raw())
    (folder / public_name).write_bytes(key.public_key().public_bytes_raw())
    return private


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read `control.key`.

    Raises:
        ConfigurationInvalid: it is missing or not 32 raw bytes.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(f"{path} is no control key ({error})", "create one with create_key") from error


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read `control.pub`.

    Raises:
        ConfigurationInvalid: it is missing or not 32 raw bytes.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(path.read_bytes())
    except (OSError, ValueError) as error:
        mend = "copy control.pub from the control node's state folder"
        raise ConfigurationInvalid(f"{path} is no control key ({error})", mend) from error
