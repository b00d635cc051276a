"""When not to ask: a breaker that opens on failures in a row, and on a provider's own word to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.errors import ChainBusy


@dataclass(slots=True)
class Breaker:
    """Lets calls through while they help.

    After `patience` failures in a row it stays shut for `first_rest_s`, then lets one call try; each failed try doubles
    the rest up to `longest_rest_s`, one success forgets all.

    Attributes:
        name: Whom it guards, for the error's text.
        now_s: A monotonic clock, seconds.
        patience: Failures in a row that open it; fewer would open on one bad minute of a busy API.
        first_rest_s: One tick of the scanner.
        longest_rest_s: What a customer can wait on top of TRON's minute of finality.
    """

    name: str
    now_s: Callable[[], float]
    patience: int = 5
    first_rest_s: float = 3.0
    longest_rest_s: float = 60.0
    failures: int = 0
    closed_until_s: float = 0.0
    trying: bool = False

    def admit(self) -> None:
        """Let a call through.

        Raises:
            ChainBusy: not now, or another call is the one that tries.
        """
        left = self.closed_until_s - self.now_s()
        if left > 0:
            raise ChainBusy(self.name, "resting after failures or at its own wish", wait_s=left)
        if self.failures >= self.patience:
            if self.trying:
                raise ChainBusy(self.name, "one call is trying it out", wait_s=self.first_rest_s)
            self.trying = True

    def succeeded(self) -> None:
        """Note an answer of any use."""
        self.failures = 0
        self.trying = False

    def failed(self) -> None:
        """Note a call that brought nothing."""
        self.failures += 1
        self.trying = False
        if self.failures >= self.patience:
            rest = min(self.longest_rest_s, self.first_rest_s * 2 ** (self.failures - self.patience))
            self.closed_until_s = max(self.closed_until_s, self.now_s() + rest)

    def pause(self, seconds: float) -> None:
        """Keep it shut for that long because the provider said so; that is no failure."""
        self.trying = False
        self.closed_until_s = max(self.closed_until_s, self.now_s() + seconds)

    def let_go(self) -> None:
        """Give back a try that ended without an answer or a failure (its caller was cancelled)."""
        self.trying = False
