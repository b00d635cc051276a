import pytest

from infra.chains.breaker import Breaker
from models.errors import ChainBusy


class Seconds:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time():
    return Seconds()


@pytest.fixture
def breaker(time):
    return Breaker("tronscan", time, patience=3, first_rest_s=3.0, longest_rest_s=10.0)


def fail(breaker, times):
    for _ in range(times):
        breaker.admit()
        breaker.failed()


def test_it_stays_open_until_patience_is_over(breaker):
    fail(breaker, 2)
    breaker.admit()
    breaker.succeeded()
    fail(breaker, 2)
    breaker.admit()


def test_it_rests_then_lets_one_call_try(breaker, time):
    fail(breaker, 3)
    with pytest.raises(ChainBusy) as caught:
        breaker.admit()
    assert caught.value.wait_s == pytest.approx(3)
    time.at += 3
    breaker.admit()
    with pytest.raises(ChainBusy, match="trying"):
        breaker.admit()
    breaker.succeeded()
    breaker.admit()


def test_each_failed_try_doubles_the_rest_up_to_a_bound(breaker, time):
    fail(breaker, 3)
    for rest in (6.0, 10.0, 10.0):
        time.at = breaker.closed_until_s
        fail(breaker, 1)
        assert breaker.closed_until_s - time.at == pytest.approx(rest)


def test_a_wish_to_wait_is_honoured_and_no_failure(breaker, time):
    breaker.pause(30)
    with pytest.raises(ChainBusy):
        breaker.admit()
    time.at += 30
    breaker.admit()
    assert breaker.failures == 0


def test_a_try_that_was_cancelled_leaves_the_turn_to_the_next(breaker, time):
    fail(breaker, 3)
    time.at += 3
    breaker.admit()
    breaker.let_go()
    breaker.admit()
