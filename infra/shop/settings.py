"""What is sold and where it is paid to. Nothing here has a default that could take money."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from infra.environment import FromEnvironment
from infra.shop.pricelist import read_plans
from models.errors import ConfigurationInvalid, PaymentInvalid
from models.payment import Asset, Money
from models.payment_address import Address, Chain, parse_deposit_address
from models.payment_policy import PaymentPolicy
from models.payment_rules import USDT_TON_MASTER, USDT_TRON_CONTRACT
from models.shop import Catalogue


class ShopSettings(FromEnvironment):
    """Everything a seller can turn, with its unit and its reason."""

    model_config = SettingsConfigDict(env_prefix="X0_", frozen=True)

    plans: Path | None = Field(default=None, description="YAML file of plans and prices; unset: nothing is sold.")
    deposit_tron: str | None = Field(default=None, description="Our TRON address for USDT; unset: none is taken.")
    deposit_ton: str | None = Field(default=None, description="Our TON address; unset: no TON is taken.")
    order_minutes: int = Field(
        default=60, ge=5, le=24 * 60, description="How long an order may be paid on time, by block time."
    )
    late_hours: int = Field(
        default=24, ge=0, le=30 * 24, description="How long after that a payment still finds its order."
    )
    two_of_two_from_usdt: Decimal = Field(
        default=Decimal(50), ge=0, description="Orders from this many USDT on need both providers."
    )
    two_of_two_from_ton: Decimal = Field(
        default=Decimal(20), ge=0, description="Orders from this many TON on need both providers."
    )
    shop_calls_per_minute: int = Field(
        default=600,
        ge=1,
        description="Calls to the shop's routes by one API token; ten a second serve hundreds of waiting customers.",
    )


def catalogue_of(settings: ShopSettings) -> Catalogue:
    """Read the plans and addresses that an installation sells with.

    Raises:
        ConfigurationInvalid: a file or an address cannot be used, or a price is in a currency that nobody can pay.
    """
    deposits = {
        chain: _deposit(f"X0_DEPOSIT_{chain.name}", text, chain)
        for chain, text in ((Chain.TRON, settings.deposit_tron), (Chain.TON, settings.deposit_ton))
        if text
    }
    if settings.plans is None:
        return Catalogue((), deposits)
    policy = policy_of(settings)
    plans = read_plans(settings.plans, least=policy.dust)
    for plan in plans:
        for asset in plan.prices:
            if asset.chain not in deposits:
                raise ConfigurationInvalid(
                    f"{settings.plans}: {plan.name} has a price in {asset}",
                    f"set X0_DEPOSIT_{asset.chain.name} or take the price out",
                )
    return Catalogue(plans, deposits)


def policy_of(settings: ShopSettings) -> PaymentPolicy:
    """Return the rules of payment that an installation asked for.

    Raises:
        ConfigurationInvalid: a threshold has more places than its coin.
    """
    usdt = _threshold("X0_TWO_OF_TWO_FROM_USDT", settings.two_of_two_from_usdt, Asset.USDT_TRON)
    ton = _threshold("X0_TWO_OF_TWO_FROM_TON", settings.two_of_two_from_ton, Asset.TON)
    return PaymentPolicy(
        window=timedelta(minutes=settings.order_minutes),
        late_grace=timedelta(hours=settings.late_hours),
        two_of_two_from={Asset.USDT_TRON: usdt, Asset.USDT_TON: usdt, Asset.TON: ton},
    )


def _threshold(variable: str, amount: Decimal, asset: Asset) -> int:
    if amount == 0:
        return 0  # every order needs both
    try:
        return Money.parse(f"{amount:f}", asset).units
    except PaymentInvalid as error:
        raise ConfigurationInvalid(f"{variable} is not usable", error.mend) from error


def _deposit(variable: str, text: str, chain: Chain) -> Address:
    try:
        address = parse_deposit_address(text, chain)
    except PaymentInvalid as error:
        raise ConfigurationInvalid(f"{variable} is not usable", error.mend) from error
    if address in {USDT_TRON_CONTRACT, USDT_TON_MASTER}:
        raise ConfigurationInvalid(f"{variable} is Tether's own contract", "set it to a wallet of yours")
    return address
