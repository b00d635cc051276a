"""The bot's token stands in every URL it calls: what the libraries log goes through here, or nowhere."""

from __future__ import annotations

import logging
import re
import traceback

import structlog

from infra.log import HIDDEN

log = structlog.get_logger()

TOKEN = re.compile(r"[0-9]{5,}:[A-Za-z0-9_-]{20,}")
LIBRARIES = ("telegram", "httpx", "httpcore", "apscheduler")


def redacted(text: str) -> str:
    """Return a text without anything that has the shape of a bot's token."""
    return TOKEN.sub(HIDDEN, text)


def trace(error: BaseException) -> str:
    """Return an error with its traceback, without a token."""
    return redacted("".join(traceback.format_exception(error)))


class _Bridge(logging.Handler):
    """Hands the libraries' warnings to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        facts = {"library": record.name, "message": redacted(record.getMessage())}
        if record.exc_info and record.exc_info[1] is not None:
            facts["trace"] = trace(record.exc_info[1])
        log.warning("telegram library warns", **facts)


def quiet_libraries() -> None:
    """Let the libraries speak through our log only, and only of what is wrong; httpx tells each URL at INFO."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [_Bridge()]
        logger.setLevel(logging.WARNING)
        logger.propagate = False
