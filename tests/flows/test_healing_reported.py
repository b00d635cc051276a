"""The cycle in Prefect's eyes: its stages are tasks, waiting has a name, and healing never waits for its diary."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from flows.healing import HealParameters, heal_mesh, turn
from models.incident import IncidentState, OutcomeKind
from tasks.diary import Diary, answers
from tests.flows.conftest import forgive_sockets_to
from tests.tasks.test_approve import hang_daemon
from tests.tasks.world import ClosedLoop, line, reported_loop

pytestmark = [
    pytest.mark.flow,
    pytest.mark.usefixtures("prefect_server"),
    # Prefect's events client leaves its web sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STAGES = ["monitor", "recall", "analyze", "plan", "execute", "verify", "learn"]
# Prefect writes task runs down from events, a moment after they happened.
SHOWN_WITHIN_SECONDS = 90
# A port that nobody listens on: discard is never served here.
NOWHERE = "http://127.0.0.1:9/api"


async def runs() -> list[FlowRun]:
    """Return heal-mesh's runs, newest first."""
    async with get_client() as client:
        return await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["heal-mesh"])), sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )


async def stages_of(run: FlowRun, *, count: int) -> list[str]:
    """Return the names of a run's tasks in the order they began, once there are so many."""
    async with get_client() as client, asyncio.timeout(SHOWN_WITHIN_SECONDS):
        while True:
            tasks = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
            began = sorted((one for one in tasks if one.start_time), key=lambda one: one.start_time)
            if len(began) >= count:
                return [one.name.rsplit("-", 1)[0] for one in began]
            await asyncio.sleep(0.2)


async def broken(loop: ClosedLoop) -> HealParameters:
    loop.break_link()
    (incident,) = await loop.seen()
    return HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False)


async def test_a_heal_shows_its_stages_as_tasks_in_order():
    async with reported_loop() as loop:
        outcome = await heal_mesh(await broken(loop))
    assert outcome.kind is OutcomeKind.FIXED, outcome.reason
    run, *_ = await runs()
    assert run.state.name == "Completed"
    assert await stages_of(run, count=len(STAGES)) == STAGES


async def test_a_run_that_waits_for_a_person_ends_under_a_name_of_its_own():
    async with reported_loop(line()) as loop:
        hang_daemon(loop)
        (incident,) = await loop.seen()
        outcome = await heal_mesh(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
        assert await loop.state(incident.id) is IncidentState.AWAITING_APPROVAL
    run, *_ = await runs()
    assert outcome.kind is OutcomeKind.AWAITING_APPROVAL
    assert (run.state.type.value, run.state.name) == ("COMPLETED", "AwaitingApproval")
    assert run.state.message == outcome.reason


async def test_without_prefect_the_same_work_is_done_and_written_down_once_it_answers():
    before = {one.id for one in await runs()}
    diary = Diary()
    async with reported_loop() as loop:
        parameters = await broken(loop)
        with temporary_settings({PREFECT_API_URL: NOWHERE}):
            assert not await answers()
            outcome = await diary.run(heal_mesh, turn, parameters)
            await diary.catch_up()
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert loop.is_costed_out()
    await diary.catch_up()
    await diary.catch_up()
    (run,) = [one for one in await runs() if one.id not in before]
    assert (run.tags, run.state.name) == (["unreported"], "Completed")
    assert str(parameters.incident) in str(run.parameters)
    assert "fixed" in run.state.message


class Cable:
    """A way to Prefect's API that can be cut for good.

    In a thread of its own: at a flow's start Prefect asks its server from within the event loop, without await.
    """

    def __init__(self) -> None:
        api = urlsplit(str(get_current_settings().api.url))
        self._far = (str(api.hostname), int(api.port or 80))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/api"

    def __enter__(self) -> Self:
        self._begin(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._threads[0].join()
        self.cut()  # what was accepted in the last moment
        for one in self._threads:
            one.join()

    def cut(self) -> None:
        """End every connection; from now on none is accepted."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _begin(self, work: Callable[..., None], *parts: socket.socket) -> None:
        thread = threading.Thread(target=work, args=parts, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._open.append(near)  # at once: the far end may not answer any more
                far = socket.create_connection(self._far)
                self._open.append(far)
                self._begin(self._pipe, near, far)
                self._begin(self._pipe, far, near)

    @staticmethod
    def _pipe(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def cable(prefect_server: None, pytestconfig: pytest.Config) -> Iterator[Cable]:
    with Cable() as one:
        forgive_sockets_to(pytestconfig, urlsplit(one.url).port)
        yield one


async def test_when_prefect_dies_in_the_middle_the_turn_is_done_once_in_effect(cable: Cable):
    diary = Diary()
    async with reported_loop() as loop, asyncio.timeout(60):
        parameters = await broken(loop)

        async def kill_prefect_once_it_acts() -> None:
            await loop.until_costed_out()
            cable.cut()

        killing = asyncio.create_task(kill_prefect_once_it_acts())
        # A refused connection is final for the client; a broken one it would try again for a minute.
        with temporary_settings({PREFECT_API_URL: cable.url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            assert await answers()
            await diary.run(heal_mesh, turn, parameters)
        await killing
        story = await loop.story(parameters.incident)
        assert [one.kind for one in story.outcomes] == [OutcomeKind.FIXED]
        assert story.incident.state is IncidentState.CLOSED
        assert (loop.writes, loop.is_costed_out()) == (2, True)
    await diary.catch_up()
    assert "unreported" in [tag for one in await runs() for tag in one.tags]
