"""A conformance case as its file says it: the format, and reading it with errors that name file and field.

docs/conformance.md tells the format to whoever adds a case; this is its one source of truth for a program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.errors import ConfigurationInvalid
from models.ledger import MessageKind
from models.payment import Asset, Flag, OrderState, Provider
from models.payment_address import Chain
from models.payment_matching import Unmatched
from models.payment_rules import Ruling
from models.payment_state import Decision

_DURATION = re.compile(r"([0-9]+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

WORD = r"^[A-Za-z][A-Za-z0-9-]{0,23}$"
AMOUNT = r"^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)?)( [+-] [0-9]+(\.[0-9]+)?)?$"
MOMENT = r"^[A-Za-z][A-Za-z0-9-]*\.(created|expires|watched)( [+-] [0-9]+[smhd])?$"


def duration(text: Any) -> timedelta:
    """Read `90s`, `5m`, `2h` or `3d`; ValueError for anything else."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("write a duration such as 90s, 5m, 2h or 3d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


Duration = Annotated[timedelta, BeforeValidator(duration)]
Word = Annotated[str, Field(pattern=WORD)]
Amount = Annotated[str, Field(pattern=AMOUNT)]
Moment = Annotated[str, Field(pattern=MOMENT)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_listed)


class Part(BaseModel):
    """A piece of a case: a field nobody knows is an error, not a wish that comes to nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OrderStep(Part):
    """Somebody orders. `refused` expects a no, and holds a part of its sentence."""

    name: Word
    asset: Asset = Asset.USDT_TRON
    price: str = Field(default="29", pattern=r"^[0-9]+(\.[0-9]+)?$")
    buyer: Word = "anna"
    refused: str | None = None


class TokenPart(Part):
    """Another token than the real one."""

    contract: str = "fake"
    symbol: str = "USDT"
    decimals: int = 6


class MovePart(Part):
    """One event of a transaction with several."""

    amount: Amount
    to: str = "ours"
    token: TokenPart | None = None


class ReceiptPart(Part):
    """How a message was received on TON; the defaults are an ordinary payment."""

    bounce: bool = True
    bounced: bool = False
    exit_code: int = 0
    skipped: str | None = None
    action_success: bool = True
    bounce_phase: bool = False
    sends_back: bool = False
    op: int | None = None
    raw_body: str | None = None
    kind: Literal["ord", "tick_tock"] = "ord"
    end_status: str = "active"


class PayStep(Part):
    """The chain takes in a transaction."""

    tx: Word | None = None
    order: Word | None = Field(default=None, alias="for")
    amount: Amount | None = None
    units: int | None = Field(default=None, ge=0)
    asset: Asset | None = None
    to: str = "ours"
    payer: str = "payer"
    comment: str | None = None
    at: Moment | None = None
    times: int = Field(default=1, ge=1, le=20_000)
    same_block: bool = False
    only_forecast: bool = False
    result: str = "SUCCESS"
    called: str | None = None
    token: TokenPart | None = None
    moves: tuple[MovePart, ...] = ()
    receipt: ReceiptPart = ReceiptPart()
    hidden_from: Annotated[frozenset[Provider], OneOrMore] = frozenset()
    payload: Any = None

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if self.order is None and self.amount is None and self.units is None and not self.moves:
            raise ValueError("say `for`, `amount`, `units` or `moves`")
        if self.order is None and self.asset is None and not self.moves:
            raise ValueError("say `asset`, or `for` an order of that asset")
        return self


class ClaimStep(Part):
    """A buyer names a transaction."""

    order: Word
    tx: Word | None = None
    text: str | None = None
    by: Literal["hash", "link", "message", "trace", "upper"] = "hash"
    buyer: Word | None = None
    times: int = Field(default=1, ge=1, le=200)
    refused: str | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.tx is None) == (self.text is None):
            raise ValueError("say `tx` (of a payment above) or `text` (what is pasted), one of them")
        return self


class CheckStep(Part):
    """A buyer asks how the order stands."""

    order: Word
    state: OrderState | None = None
    times: int = Field(default=1, ge=1, le=500)
    within: Duration = timedelta(seconds=5)


class DecideStep(Part):
    """A person decides."""

    order: Word
    decision: Decision
    reason: str = "the case says so"
    actor: str = "telegram:1"
    times: int = Field(default=1, ge=1, le=50)
    refused: str | None = None


class CancelStep(Part):
    """A buyer cancels."""

    order: Word
    buyer: Word | None = None
    refused: str | None = None


class TellPart(Part):
    """A change of what a provider answers: at a path into its JSON, `*` for every item."""

    path: str = ""
    at: str
    value: Any = None
    drop: bool = False
    reverse: bool = False


FaultName = Literal[
    "hang", "drip", "flood", "cut_off", "limited", "refused_key", "no_key_page", "forbidden_page", "forbidden_code",
    "error_200", "daily_quota", "duplicate_keys", "nan", "redirect", "500", "502", "503", "504", "520", "522", "542",
]  # fmt: skip


class ProviderStep(Part):
    """What goes wrong with one provider from now on."""

    name: Provider
    fault: FaultName | None = None
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    lag: Duration | None = None
    page_rows: int | None = Field(default=None, ge=1)
    unfiltered: bool = False
    tell: tuple[TellPart, ...] = ()


class ReadStep(Part):
    """A text that people type, and what it must be read as."""

    address: str | None = None
    deposit: str | None = None
    tx: str | None = None
    amount: str | None = None
    currency: str | None = None
    chain: Chain = Chain.TRON
    asset: Asset = Asset.USDT_TRON
    is_: str | int | None = Field(default=None, alias="is")
    refused: bool = False

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        given = [text for text in (self.address, self.deposit, self.tx, self.amount, self.currency) if text is not None]
        if len(given) != 1 or (self.is_ is None) == (not self.refused):
            raise ValueError("say one text, and either `is` or `refused: true`")
        return self


class OrderOutcome(Part):
    """What an order must be."""

    state: Annotated[tuple[OrderState, ...], OneOrMore]
    flags: frozenset[Flag] = frozenset()
    credited: Amount | None = None
    credits: int | None = None
    licence: bool | None = None


class AsideOutcome(Part):
    """What must wait for a person."""

    why: Unmatched
    tx: Word | None = None
    times: int = 1


class CallsOutcome(Part):
    """What a provider may have been asked."""

    most: int | None = None
    least: int | None = None
    never: str | None = None
    each: str | None = None
    where: str = ""


class Outcome(Part):
    """What must be true now. `unmatched` is all there may be, unless it is left out in a step."""

    orders: Mapping[Word, OrderOutcome] = {}
    unmatched: tuple[AsideOutcome, ...] | None = None
    remarks: Mapping[Provider, Mapping[Ruling, int]] = {}
    alerts: tuple[str, ...] = ()
    messages: Mapping[MessageKind, int] = {}
    calls: Mapping[Provider, CallsOutcome] = {}
    distinct: tuple[Word, ...] = ()


class Step(Part):
    """One thing that happens; exactly one of these."""

    order: OrderStep | None = None
    pay: PayStep | None = None
    wait: Duration | None = None
    unseen: Duration | None = None
    until: Moment | None = None
    until_unseen: Moment | None = None
    scan: int | None = Field(default=None, ge=1, le=20)
    claim: ClaimStep | None = None
    check: CheckStep | None = None
    decide: DecideStep | None = None
    cancel: CancelStep | None = None
    provider: ProviderStep | None = None
    mend: Provider | Literal["all"] | None = None
    show: Word | None = None
    vanish: Word | None = None
    mine_again: Word | None = None
    restart: Literal["scanner", "all"] | None = None
    read: ReadStep | None = None
    at_once: tuple[Step, ...] | None = None
    expect: Outcome | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is one thing, such as `- wait: 90s`")
        return self

    @property
    def verb(self) -> str:
        """Return what happens."""
        (verb,) = self.model_fields_set
        return verb


class PolicyPart(Part):
    """What differs from the default policy; amounts as people write them."""

    window: Duration | None = None
    late_grace: Duration | None = None
    skew: Duration | None = None
    two_of_two_from: Mapping[Asset, str] = {}
    lone_up_to: Mapping[Asset, str] = {}
    lone_age: Duration | None = None
    dust: Mapping[Asset, str] = {}
    tail_step: Mapping[Asset, str] = {}
    tails: int | None = Field(default=None, ge=1)


class Case(Part):
    """A whole case."""

    id: str = Field(pattern=r"^[A-Z][0-9]{2}$")
    title: str
    why: str
    policy: PolicyPart = PolicyPart()
    provider_deadline: Duration = timedelta(seconds=2)
    steps: tuple[Step, ...] = Field(min_length=1)
    expect: Outcome = Outcome()


def load_case(path: Path) -> Case:
    """Read one case.

    Raises:
        ConfigurationInvalid: not YAML, a field that is missing, unknown or wrong, or another id than the file's name.
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        case = Case.model_validate(told)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{path} cannot be read", "give a readable YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigurationInvalid(f"{path} is no YAML: {' '.join(str(error).split())}", "mend it there") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(place) for place in first["loc"]) or "the file"
        raise ConfigurationInvalid(
            f"{path}: {field}: {first['msg']}", "docs/conformance.md tells the format"
        ) from error
    if case.id != path.stem:
        raise ConfigurationInvalid(f"{path}: id: it says {case.id}", "a case's file bears its id")
    return case


def load_cases(folder: Path) -> list[Case]:
    """Read every `*.yaml` of a folder, in order of their ids.

    Raises:
        ConfigurationInvalid: a file is wrong, or there is none.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigurationInvalid(f"{folder} holds no *.yaml", "name the folder that the cases lie in")
    return [load_case(path) for path in paths]
