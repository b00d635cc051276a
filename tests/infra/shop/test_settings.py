"""The plans file and the addresses: exact, strict, and a mistake is told with its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.shop.pricelist import read_plans
from infra.shop.settings import ShopSettings, catalogue_of, policy_of
from models.errors import ConfigurationInvalid
from models.ledger import Plan
from models.payment import Asset
from models.payment_address import Chain
from models.payment_policy import PaymentPolicy
from models.payment_rules import USDT_TRON_CONTRACT
from models.shop import NOTHING_SOLD
from tests.fakes.chains.examples import OURS, OURS_ON_TON

DUST = PaymentPolicy().dust
PAGE = Path(__file__).parents[3] / "docs" / "payments.md"
GOOD = """\
plans:
  - name: month
    days: 30
    devices: 2
    prices: {USDT: 9.99, TON: "3.5"}
  - name: week
    days: 7
    prices:
      usdt-trc20: 64.1
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "plans.yaml"
        path.write_text(text)
        return path

    return write


def test_reads_plans_in_their_order_with_exact_prices(written):
    assert read_plans(written(GOOD), least=DUST) == (
        Plan("month", 30, 2, {Asset.USDT_TRON: 9_990_000, Asset.TON: 3_500_000_000}),
        Plan("week", 7, 1, {Asset.USDT_TRON: 64_100_000}),
    )


@settings(deadline=None)  # a busy machine is slow to write a file
@given(st.integers(1, 99_999))
def test_no_price_passes_through_a_binary_fraction(tmp_path_factory, cents):
    path = tmp_path_factory.getbasetemp() / "exact.yaml"
    path.write_text(f"plans: [{{name: a, days: 1, prices: {{USDT: {cents // 100}.{cents % 100:02}}}}}]")
    assert read_plans(path, least=dict.fromkeys(Asset, 1))[0].prices[Asset.USDT_TRON] == cents * 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plans:\n  - name: month\n    days: thirty\n    prices: {TON: 1}\n", r"line 3: plans\[0\]\.days: .*integer"),
        ("plans:\n  - name: month\n    days: 0\n    prices: {TON: 1}\n", r"line 3: plans\[0\]\.days: .*greater"),
        ("plans:\n  - name: month\n    prices: {TON: 1}\n", r"line 2: plans\[0\]\.days: Field required"),
        ("plans:\n  - name: m\n    days: 1\n    price: 1\n", r"line \d: plans\[0\]\.\w+: "),
        ("plans:\n  - name: A B\n    days: 1\n    prices: {TON: 1}\n", r"line 2: plans\[0\]\.name"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {}\n", r"line 4: plans\[0\]\.prices"),
        ("plans:\n  - name: m\n    days: 1\n    prices:\n      BTC: 1\n", r"line 5: .*BTC: the currency"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: 1e3}\n", r"line 4: .*USDT: the amount"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: -1}\n", r"line 4: .*USDT: the amount"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: 0}\n", r"more than zero"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: 1.2345678}\n", r"6 places"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: 0.009}\n", r"0\.01 USDT is dust"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT_TON: 5}\n", r"recorded for a person"),
        ("plans:\n  - name: m\n    days: 1\n    prices: {USDT: 5, trc20: 6}\n", r"USDT_TRON already"),
        ("plans:\n  - name: m\n    days: 1\n    days: 2\n    prices: {TON: 1}\n", r"line 4: .*days stands there twice"),
        (GOOD.replace("week", "month"), r"two plans are named month"),
        ("plans: []\n", r"line 1: plans: "),
        ("", r"line 1: the file: "),
        ("- month\n", r"the file"),
        ("plans: [\n", r"is not YAML: .*line 2"),
    ],
)
def test_a_mistake_is_told_with_its_line(written, text, said):
    with pytest.raises(ConfigurationInvalid, match=said):
        read_plans(written(text), least=DUST)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="X0_PLANS"):
        read_plans(tmp_path / "none.yaml", least=DUST)


def test_without_settings_nothing_is_sold_and_no_money_is_taken(monkeypatch):
    for name in ("X0_PLANS", "X0_DEPOSIT_TRON", "X0_DEPOSIT_TON"):
        monkeypatch.delenv(name, raising=False)
    assert catalogue_of(ShopSettings()) == NOTHING_SOLD


def test_the_environment_names_plans_and_addresses(monkeypatch, written):
    monkeypatch.setenv("X0_PLANS", str(written(GOOD)))
    monkeypatch.setenv("X0_DEPOSIT_TRON", str(OURS))
    monkeypatch.setenv("X0_DEPOSIT_TON", str(OURS_ON_TON))
    catalogue = catalogue_of(ShopSettings())
    assert [one.name for one in catalogue.plans] == ["month", "week"]
    assert catalogue.deposits == {Chain.TRON: OURS, Chain.TON: OURS_ON_TON}


def test_a_price_that_nobody_can_pay_is_a_mistake(written):
    half = ShopSettings(plans=written(GOOD), deposit_tron=str(OURS), deposit_ton=None)
    with pytest.raises(ConfigurationInvalid, match="month has a price in TON; set X0_DEPOSIT_TON"):
        catalogue_of(half)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"deposit_tron": str(OURS)[:-1] + "1"}, "X0_DEPOSIT_TRON is not usable.*"),
        ({"deposit_ton": str(OURS)}, "X0_DEPOSIT_TON is not usable"),
        ({"deposit_tron": str(USDT_TRON_CONTRACT)}, "Tether's own contract"),
    ],
)
def test_an_address_that_would_lose_money_is_a_mistake(given, said):
    with pytest.raises(ConfigurationInvalid, match=said):
        catalogue_of(ShopSettings(**given))


def test_the_policy_is_the_defaults_until_it_is_turned():
    assert policy_of(ShopSettings()) == PaymentPolicy()
    turned = policy_of(ShopSettings(order_minutes=30, two_of_two_from_usdt=Decimal("12.5"), two_of_two_from_ton=0))
    assert turned.window.total_seconds() == 1800
    assert (turned.two_of_two_from[Asset.USDT_TRON], turned.two_of_two_from[Asset.TON]) == (12_500_000, 0)
    with pytest.raises(ConfigurationInvalid, match="X0_TWO_OF_TWO_FROM_USDT"):
        policy_of(ShopSettings(two_of_two_from_usdt=Decimal("0.0000001")))


def test_the_page_on_payments_tells_every_setting_with_its_default():
    rows = {
        line.split("|")[1].strip(" `"): line.split("|")[2].split(",")[0].strip(" `")
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `X0_")
    }
    told = {f"X0_{name.upper()}": field.default for name, field in ShopSettings.model_fields.items()}
    assert rows == {name: "unset" if value is None else str(value) for name, value in told.items()}


def test_the_plans_on_the_page_are_ones(written):
    text = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    assert read_plans(written(text), least=DUST)[0].name == "month"
