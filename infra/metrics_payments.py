"""What only the process that scans a chain sees: its providers' answers, and how long money takes to count.

What the ledger knows (orders, queues, how far was read) is computed at each scrape of the gateway, see `infra.metrics`.
Labels are bounded: four providers, four calls, the kinds of trouble, the rulings, three assets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from models.errors import ChainAnswerInvalid, ChainBusy, ChainUnavailable, ProviderKeyRefused
from models.payment import Asset, Provider
from models.payment_address import Chain
from models.payment_rules import Ruling

PROVIDER_SECONDS = "x0tta6bl4_provider_request_duration_seconds"
PROVIDER_ERRORS = "x0tta6bl4_provider_errors_total"
PROVIDER_LIMITED = "x0tta6bl4_provider_rate_limited_total"
REMARKS = "x0tta6bl4_provider_remarks_total"
CREDITED = "x0tta6bl4_transfers_credited_total"
DISPUTES = "x0tta6bl4_payment_disputes_total"
SCAN_LAG = "x0tta6bl4_scan_lag_seconds"
BLOCK_TO_CREDIT = "x0tta6bl4_block_to_credit_seconds"

# A provider has 4 s in all, retries included.
CALL_BUCKETS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.5, 4.0)
# TON is final within seconds; TRON's floor is about a minute and the goal 90 s; a day is the late grace.
CREDIT_BUCKETS_SECONDS = (2, 5, 10, 20, 45, 60, 75, 90, 120, 300, 900, 3600, 86400)


class ScanMetrics:
    """The metrics of one scanning process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            PROVIDER_SECONDS,
            "Time a provider took to answer, retries included.",
            ["provider", "call"],
            buckets=CALL_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            PROVIDER_ERRORS,
            "Calls to a provider that brought nothing; alert on invalid and key_refused.",
            ["provider", "kind"],
            registry=self.registry,
        )
        self._limited = Counter(
            PROVIDER_LIMITED,
            "Calls not made or refused because a limit, a budget or a breaker said to wait.",
            ["provider"],
            registry=self.registry,
        )
        self._remarks = Counter(
            REMARKS,
            "Rows that were no payment, by ruling; alert on drift and frozen_account.",
            ["provider", "ruling"],
            registry=self.registry,
        )
        self._credited = Counter(CREDITED, "Transfers counted toward an order.", ["asset"], registry=self.registry)
        self._disputes = Counter(
            DISPUTES,
            "Looks at which two providers contradicted each other; alert on any.",
            registry=self.registry,
        )
        self._lag = Gauge(
            SCAN_LAG,
            "How old the newest moment is up to which every address was read without a gap.",
            ["chain"],
            registry=self.registry,
        )
        self._block_to_credit = Histogram(
            BLOCK_TO_CREDIT,
            "Time from a payment's block to its credit.",
            ["asset"],
            buckets=CREDIT_BUCKETS_SECONDS,
            registry=self.registry,
        )

    @contextmanager
    def asking(self, provider: Provider, call: str) -> Iterator[None]:
        """Time one call, and count how it failed if it did."""
        began = time.perf_counter()
        try:
            yield
        except ChainBusy:
            self._limited.labels(provider).inc()
            raise
        except ChainAnswerInvalid:
            self._errors.labels(provider, "invalid").inc()
            raise
        except ChainUnavailable:
            self._errors.labels(provider, "unavailable").inc()
            raise
        except ProviderKeyRefused:
            self._errors.labels(provider, "key_refused").inc()
            raise
        else:
            self._seconds.labels(provider, call).observe(time.perf_counter() - began)

    def remarked(self, provider: Provider, remarks: Mapping[Ruling, int]) -> None:
        """Count rows that were no payment."""
        for ruling, count in remarks.items():
            self._remarks.labels(provider, ruling).inc(count)

    def lagging(self, chain: Chain, by: timedelta) -> None:
        """Say how far behind the reading is."""
        self._lag.labels(chain).set(max(0.0, by.total_seconds()))

    def credited(self, asset: Asset, after: timedelta) -> None:
        """Count one credit, and how long it took from its block."""
        self._credited.labels(asset).inc()
        # A provider's block time may be a little ahead of our clock.
        self._block_to_credit.labels(asset).observe(max(0.0, after.total_seconds()))

    def disputed(self, transactions: int) -> None:
        """Count contradictions."""
        self._disputes.inc(transactions)

    def serve(self, *, port: int) -> Callable[[], None]:
        """Serve them on this machine only; returns what stops it.

        Raises:
            OSError: the port is taken.
        """
        server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
