"""Counting probes: sent, settled, answered, and the median round trip. Pure: times are arguments."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from statistics import median

# At four a second and a time-out of at most four seconds (0.8 s x 5) 16 wait; more means that the loop stood still.
_MOST_WAITING = 256
_MOST_RTTS = 64


class Tally:
    """One slot's counts. `answered <= settled <= sent`, always."""

    def __init__(self) -> None:
        self.sent = 0
        self.settled = 0
        self.answered = 0
        self._waiting: OrderedDict[int, int] = OrderedDict()
        self._rtts_ms: list[float] = []

    def send(self, now_ns: int) -> int:
        """Count a request and return its sequence number."""
        sequence = self.sent
        self.sent += 1
        self._waiting[sequence] = now_ns
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
            self.settled += 1
        return sequence

    def refuse(self, sequence: int) -> None:
        """Settle a request that the kernel would not send: there is no way to the target, which is a loss."""
        if self._waiting.pop(sequence, None) is not None:
            self.settled += 1

    def forget(self, sequence: int) -> None:
        """Uncount a request that never left because our own buffers were full: that says nothing of the link."""
        if self._waiting.pop(sequence, None) is not None:
            self.sent -= 1

    def answer(self, sequence: int, arrived_ns: int, *, timeout_ns: int) -> None:
        """Settle an answered request by when the kernel received the answer; late, unknown and repeated ones count not.

        Args:
            sequence: From the answer.
            arrived_ns: When the kernel received it, in the clock of `send`.
            timeout_ns: Longest round trip that counts as answered.
        """
        sent_ns = self._waiting.pop(sequence, None)
        if sent_ns is None:
            return
        self.settled += 1
        # The kernel's stamp is wall time, converted by the caller: a step of that clock must not turn time backwards.
        rtt_ns = max(0, arrived_ns - sent_ns)
        if rtt_ns <= timeout_ns:
            self.answered += 1
            self._rtts_ms = [*self._rtts_ms[-_MOST_RTTS + 1 :], rtt_ns / 1e6]

    def is_overdue(self, now_ns: int, *, timeout_ns: int) -> bool:
        """Tell whether `judge` would settle anything."""
        return any(now_ns - sent_ns > timeout_ns for sent_ns in islice(self._waiting.values(), 1))

    def judge(self, now_ns: int, *, timeout_ns: int) -> None:
        """Settle requests that waited longer than the time-out. Call only after the socket was drained."""
        while self._waiting:
            sequence, sent_ns = next(iter(self._waiting.items()))
            if now_ns - sent_ns <= timeout_ns:
                return
            del self._waiting[sequence]
            self.settled += 1

    def take_rtt_ms(self) -> float | None:
        """Return the median round trip since the last call, None without answers, and begin anew."""
        found = median(self._rtts_ms) if self._rtts_ms else None
        self._rtts_ms = []
        return found
