"""Logs: for people on a terminal, JSON for machines, and never a secret in either."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

HIDDEN = "***"
_SECRET_NAMES = re.compile(r"(token|secret|password|passwd|api_key|authorization|cookie|private)", re.IGNORECASE)
_SECRETS_IN_TEXT = (
    (re.compile(r"(://[^/\s:@]+:)[^@/\s]+(?=@)"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"), rf"\g<1>{HIDDEN}"),
)

Event = MutableMapping[str, Any]


def without_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Hide values whose name says that they are secret, and passwords and bearer tokens inside any text."""
    return {name: HIDDEN if _SECRET_NAMES.search(name) else _clean(value) for name, value in event.items()}


def _clean(value: object) -> object:
    if isinstance(value, str):
        for pattern, replacement in _SECRETS_IN_TEXT:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {name: HIDDEN if _SECRET_NAMES.search(str(name)) else _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


class _Writer:
    """Writes lines to a stream; a reader that went away costs the line, not the process.

    A flow run's output goes through its worker. When the worker is killed the pipe breaks, and the run must outlive
    that: its log is then in Postgres and in its successor's, and nothing else can be told to anybody here.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        """Write one line at once."""
        try:
            self._stream.write(message + "\n")
            self._stream.flush()
        except BrokenPipeError:
            return

    debug = info = warning = error = critical = exception = fatal = log = msg


def configure(stream: TextIO | None = None, *, for_people: bool | None = None, least: int = logging.INFO) -> None:
    """Set structlog up for this process.

    Args:
        stream: Where to; None: standard error, so that a command's answer on standard output stays clean.
        for_people: Colours and columns instead of JSON; None: when the stream is a terminal.
        least: The least level that is written, of the standard library's.
    """
    target = sys.stderr if stream is None else stream
    people = target.isatty() if for_people is None else for_people
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people),
    ]
    ending: list[structlog.typing.Processor] = (
        [
            without_secrets,
            # A traceback with local variables would show what no processor can find: a token in a local.
            structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
        if people
        else [structlog.processors.format_exc_info, without_secrets, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: _Writer(target),
        cache_logger_on_first_use=False,
    )
