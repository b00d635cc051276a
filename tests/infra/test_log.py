"""Logs that tell everything but secrets."""

from __future__ import annotations

import io
import json

import structlog
from hypothesis import given
from hypothesis import strategies as st

from infra.log import configure, without_secrets


def test_writes_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure(stream)
    structlog.get_logger().info("remedy applied", actions=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["actions"], line["level"]) == ("remedy applied", 3, "info")


def test_writes_for_people_when_asked() -> None:
    stream = io.StringIO()
    configure(stream, for_people=True)
    structlog.get_logger().warning("lease over", node="n1")
    assert "lease over" in stream.getvalue()
    assert "node=n1" in stream.getvalue()


def test_a_traceback_is_told_without_the_password_in_it() -> None:
    stream = io.StringIO()
    configure(stream)
    try:
        int("postgresql://app:hunter2@db/app")
    except ValueError:
        structlog.get_logger().exception("cannot connect")
    assert "hunter2" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_hides_passwords_in_addresses_and_bearer_tokens() -> None:
    event = without_secrets(None, "info", {"url": "postgresql://app:hunter2@db/app", "header": "Bearer abc.def"})
    assert event == {"url": "postgresql://app:***@db/app", "header": "Bearer ***"}


@given(st.sampled_from(["token", "api_key", "db_password", "Authorization"]), st.text(min_size=4))
def test_a_value_under_a_secret_name_never_shows_at_any_depth(name: str, value: str) -> None:
    event = without_secrets(None, "info", {name: value, "inner": {"deeper": [{name: value}]}})
    assert event == {name: "***", "inner": {"deeper": [{name: "***"}]}}


class NobodyReads(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def test_a_broken_pipe_does_not_end_whoever_logs() -> None:
    configure(NobodyReads())
    structlog.get_logger().info("nobody reads this")
