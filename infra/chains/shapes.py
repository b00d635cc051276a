"""The small words in the providers' answers, read strictly: whole numbers, addresses, hashes, times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError

from models.errors import ChainAnswerInvalid, PaymentInvalid
from models.payment import Provider
from models.payment_address import Address, Chain, hash_from_base64, parse_address

YEAR_3000_S = 32_503_680_000
"""A time beyond it is in another unit than its field promises."""


class Shape(BaseModel):
    """Part of an answer: strict types, unknown fields passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


T = TypeVar("T", bound=Shape)


def read_shape(shape: type[T], answer: Any, provider: Provider) -> T:
    """Read an answer, or a part of one.

    Raises:
        ChainAnswerInvalid: a field is missing or of another kind; names the field.
    """
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ChainAnswerInvalid(provider, f"{shape.__name__} at {place or 'top'}: {first['msg']}") from error


def _whole(value: object) -> object:
    """Let digits in a string stand for their number; never a bool, a float or a sign."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:  # noqa: PLR2004 - 2**256
        return int(value)
    return value


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError("negative")
    return value


def _hex32(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 64:  # noqa: PLR2004 - hex digits of 32 bytes
        raise ValueError("not 64 hex digits")
    return bytes.fromhex(value)


def _base64_32(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 - pydantic wants ValueError
    try:
        return hash_from_base64(value)
    except PaymentInvalid as error:
        raise ValueError(str(error)) from error


def _address(value: object, chain: Chain) -> Address:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 - pydantic wants ValueError
    try:
        return parse_address(value, chain)
    except PaymentInvalid as error:
        raise ValueError(str(error)) from error


def _tron(value: object) -> Address:
    return _address(value, Chain.TRON)


def _ton(value: object) -> Address:
    return _address(value, Chain.TON)


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 - pydantic wants ValueError
    return bytes.fromhex(value)


def _from_millis(value: object) -> datetime:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < YEAR_3000_S * 1000:
        raise ValueError("not milliseconds since 1970")
    return datetime.fromtimestamp(value // 1000, UTC).replace(microsecond=value % 1000 * 1000)


def _from_seconds(value: object) -> datetime:
    seconds = _whole(value)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < YEAR_3000_S:
        raise ValueError("not seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)


Whole = Annotated[int, BeforeValidator(_whole), AfterValidator(_not_negative)]
HexHash = Annotated[bytes, PlainValidator(_hex32)]
Base64Hash = Annotated[bytes, PlainValidator(_base64_32)]
HexBytes = Annotated[bytes, PlainValidator(_bytes)]
TronAddress = Annotated[Address, PlainValidator(_tron)]
TonAddress = Annotated[Address, PlainValidator(_ton)]
Millis = Annotated[datetime, PlainValidator(_from_millis)]
Seconds = Annotated[datetime, PlainValidator(_from_seconds)]
