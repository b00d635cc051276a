from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import PaymentInvalid
from models.payment import MOST_UNITS, Asset, Money, parse_asset


@pytest.mark.parametrize(
    ("text", "asset", "units"),
    [
        ("64.1", Asset.USDT_TRON, 64_100_000),
        ("64.1", Asset.TON, 64_100_000_000),
        ("0.000001", Asset.USDT_TRON, 1),
        ("29", Asset.USDT_TON, 29_000_000),
        ("29.990000000", Asset.USDT_TRON, 29_990_000),
    ],
)
def test_an_amount_as_people_write_it_is_exact(text, asset, units):
    assert Money.parse(text, asset) == Money(asset, units)


@given(cents=st.integers(min_value=1, max_value=99_999))
def test_no_two_place_price_loses_a_unit(cents):
    assert Money.parse(str(Decimal(cents) / 100), Asset.USDT_TRON).units == cents * 10_000


@pytest.mark.parametrize(
    "text",
    ["1e3", "NaN", "inf", "-5", "+5", "0", "0.0", "", " 1", "1_000", "1,5", "0.0000001", "9" * 19, "٣", "1.", ".5"],
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(PaymentInvalid):
        Money.parse(text, Asset.USDT_TRON)


@pytest.mark.parametrize("units", [-1, MOST_UNITS + 1, 10**40, True, 1.0])
def test_base_units_are_whole_and_fit_the_ledger(units):
    with pytest.raises(PaymentInvalid):
        Money(Asset.TON, units)


@given(units=st.integers(min_value=1, max_value=MOST_UNITS), asset=st.sampled_from(Asset))
def test_money_reads_what_it_writes(units, asset):
    money = Money(asset, units)
    assert Money.parse(str(money).split()[0], asset) == money


@pytest.mark.parametrize(
    ("text", "asset"),
    [("usdt", Asset.USDT_TRON), (" USDT-TRC20 ", Asset.USDT_TRON), ("Ton", Asset.TON), ("usdt_ton", Asset.USDT_TON)],
)
def test_a_currency_has_many_names(text, asset):
    assert parse_asset(text) is asset


def test_an_unknown_currency_is_refused():
    with pytest.raises(PaymentInvalid, match="USDT"):
        parse_asset("BTC")
