"""What only the bot sees, counted in the registry of the gateway that hosts it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

MESSAGES = "x0tta6bl4_telegram_messages_total"
UPDATES = "x0tta6bl4_telegram_updates_total"
UP = "x0tta6bl4_telegram_up"
ERRORS = "x0tta6bl4_telegram_errors_total"


class TelegramMetrics:
    """Messages out, updates in, errors, and whether Telegram is there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter(
            MESSAGES, "Messages by what became of them; alert on failed.", ["result"], registry=registry
        )
        self._updates = Counter(UPDATES, "What people sent, by its sort.", ["sort"], registry=registry)
        self._errors = Counter(ERRORS, "Updates and turns that went wrong on our side; alert.", registry=registry)
        self._up = Gauge(UP, "Whether the bot is connected to Telegram.", registry=registry)
        for result in ("delivered", "refused", "failed"):
            self._messages.labels(result)
        for sort in ("command", "press"):
            self._updates.labels(sort)

    def message(self, result: str) -> None:
        """Count a message: delivered, refused (blocked, no such chat) or failed (Telegram is away)."""
        self._messages.labels(result).inc()

    def update(self, sort: str) -> None:
        """Count what somebody sent: a command or a press."""
        self._updates.labels(sort).inc()

    def error(self) -> None:
        """Count something that went wrong on our side."""
        self._errors.inc()

    def is_up(self, connected: bool) -> None:  # noqa: FBT001 - a gauge's value, not a choice of behaviour
        """Tell whether Telegram is there."""
        self._up.set(float(connected))
