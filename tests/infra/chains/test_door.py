import asyncio
import gzip
import logging
import re
import traceback
from datetime import timedelta

import pytest
import structlog

from infra.chains.providers import open_providers
from infra.lab.chains import faults as wrong
from infra.lab.chains.made import NOON
from models.errors import ChainAnswerInvalid, ChainBusy, ChainUnavailable, ProviderKeyRefused
from models.payment import Provider
from tests.infra.chains.conftest import KEY, WorldClock

SCAN, GRID, API, CENTER = Provider.TRONSCAN, Provider.TRONGRID, Provider.TONAPI, Provider.TONCENTER


@pytest.fixture
def scan(chains):
    return chains.side(SCAN)


@pytest.mark.parametrize("fault", [wrong.hang(), wrong.drip()], ids=["hang", "drip"])
async def test_one_deadline_ends_a_request_however_slowly_it_answers(chains, fault):
    settings = chains.stand_in.settings(deadline_s=0.4)
    chains.stand_in.faults[SCAN].plan(fault)
    async with open_providers(settings, WorldClock(chains.stand_in)) as opened:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ChainUnavailable, match=r"within 0\.4 s"):
            await opened.all[SCAN].head()
        assert loop.time() - began < 2  # far from the 30 s that the fault would take, and fair to a busy machine


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (wrong.flood(), ChainAnswerInvalid, "larger than"),
        (wrong.text(gzip.compress(b" " * 100_000), content_encoding="gzip"), ChainAnswerInvalid, "packs"),
        (wrong.redirect("http://127.0.0.1:9/elsewhere"), ChainAnswerInvalid, "status 307"),
        (wrong.says(400, {"message": "no"}), ChainAnswerInvalid, "status 400"),
        (wrong.says(404, {}), ChainAnswerInvalid, "knows no"),
        (wrong.cut_off(), ChainUnavailable, "RemoteProtocolError"),
        (wrong.page(200, "Just a moment"), ChainUnavailable, "no sound JSON"),
        (wrong.text(b'{"data": [{"number": 1'), ChainUnavailable, "no sound JSON"),
        (wrong.text(b'{"data": NaN}'), ChainUnavailable, "NaN"),
        (wrong.text(b'{"data": [], "data": [1]}'), ChainUnavailable, "twice"),
        (wrong.text(b'{"a":' * 5_000 + b"1" + b"}" * 5_000), ChainUnavailable, "deep"),
        (wrong.text(b"[]"), ChainUnavailable, "not an object"),
        (wrong.text(b"\xff\xfe"), ChainUnavailable, "no sound JSON"),
        (wrong.says(200, {"Error": "contract validate error"}), ChainUnavailable, "with an error"),
        (wrong.says(542, {}), ChainUnavailable, "status 542"),
        (wrong.says(520, {}), ChainUnavailable, "status 520"),
    ],
)
async def test_an_answer_of_no_use_is_an_error_and_nothing_else(scan, fault, kind, words):
    scan.faults.plan(fault)
    with pytest.raises(kind, match=words) as caught:
        await scan.asked.head()
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [
        (wrong.says(429, {}, retry_after="17"), 17),
        (wrong.says(429, {}, retry_after="Sun, 22 Nov 2026 12:00:40 GMT"), 40),
        (wrong.says(429, {}, retry_after="soon"), 5),
        (wrong.says(429, {"Error": "... the query server is suspended for 68 s. To obtain"}), 68),
        (wrong.says(200, {"Error": "The key exceeds the frequency limit(30), and is suspended for 30s"}), 30),
        (wrong.says(403, {"code": 403, "message": "request too quickly, please retry later."}), 5),
        (wrong.page(403, "403 Forbidden"), 5),
        (wrong.says(403, {"Error": "Exceed the user daily usage (100000), the maximum is 1 time per second"}), 43_200),
    ],
)
async def test_every_way_to_say_enough_is_understood(scan, fault, wait_s):
    assert WorldClock(scan.stand_in).now() == NOON
    scan.faults.plan(fault)
    with pytest.raises(ChainBusy) as caught:
        await scan.asked.head()
    assert caught.value.wait_s == pytest.approx(wait_s)
    assert len(scan.faults.calls) == 1


async def test_a_page_without_a_key_is_the_operators_matter(scan):
    scan.faults.plan(wrong.page(401, "401 Authorization Required"))
    with pytest.raises(ProviderKeyRefused, match="TRONSCAN_API_KEY"):
        await scan.asked.head()


async def test_an_outage_is_not_stormed(scan):
    scan.faults.plan(wrong.says(503, {}))
    for _ in range(60):
        with pytest.raises(ChainUnavailable):
            await scan.asked.head()
    # Five failures of three tries each open the breaker; the other 55 asks never leave the house.
    assert len(scan.faults.calls) == 15


async def test_a_thousand_asks_at_once_keep_to_the_budget(chains):
    settings = chains.stand_in.settings(deadline_s=2.0).model_copy(update={"tronscan_calls_per_second": 5.0})
    loop = asyncio.get_running_loop()
    async with open_providers(settings, WorldClock(chains.stand_in)) as opened:
        began = loop.time()
        asked = [opened.all[SCAN].head() for _ in range(1_000)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        took = loop.time() - began
    assert len(chains.stand_in.faults[SCAN].calls) <= 5 + 5 * took + 1
    assert all(isinstance(one, ChainUnavailable) for one in answers if isinstance(one, BaseException))
    assert sum(isinstance(one, ChainBusy) for one in answers) > 500


async def test_nobody_listening_is_a_provider_that_does_not_answer(chains):
    settings = chains.stand_in.settings().model_copy(update={"tronscan_url": "http://127.0.0.1:9"})
    async with open_providers(settings, WorldClock(chains.stand_in)) as opened:
        with pytest.raises(ChainUnavailable, match="ConnectError"):
            await opened.all[SCAN].head()


async def test_every_provider_gets_its_key_and_no_url_holds_one(chains):
    for provider, asked in chains.providers.items():
        chains.stand_in.faults[provider].key = KEY
        await asked.head()
        assert all(KEY not in path for path in chains.stand_in.faults[provider].calls)


async def told_by_failing(asked) -> str:
    try:
        await asked.head()
    except (ChainUnavailable, ProviderKeyRefused) as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(told.format()) + repr(error)
    return "it did not fail"


async def test_a_key_is_in_no_error_no_traceback_and_no_log(chains, caplog):
    caplog.set_level(logging.DEBUG)
    seen = []
    with structlog.testing.capture_logs() as logged:
        for provider, asked in chains.providers.items():
            for fault in (wrong.LIMITED[provider], wrong.REFUSED[provider], wrong.cut_off(), wrong.says(200, {"a": 1})):
                chains.stand_in.faults[provider].planned.clear()
                chains.stand_in.faults[provider].plan(fault)
                asked._door.breaker.closed_until_s = 0.0
                seen.append(await told_by_failing(asked))
    assert len(seen) == 16
    assert "it did not fail" not in seen
    everything = "\n".join([*seen, caplog.text, repr(logged)])
    assert "tronscan" in everything
    assert KEY not in everything
    assert [entry["event"] for entry in logged if entry["event"] == "provider limits us"]


async def test_no_request_asks_for_packed_answers_or_for_all_history(chains, scan):
    await scan.asked.discover(scan.ours, since=NOON - timedelta(days=36_500))
    (path,) = scan.faults.calls
    assert not re.search(r"start_timestamp=0\b", path)
