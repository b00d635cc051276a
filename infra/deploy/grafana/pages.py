"""What each dashboard shows: rows of panels, as plain data. How they are drawn is `build.py`'s."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Look(StrEnum):
    """How a panel shows its figures."""

    LINES = "lines"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and the queries that answer it.

    Attributes:
        title: The question in few words.
        queries: PromQL, each with the legend of its series.
        unit: Grafana's name of the unit.
        about: What a reader should know before believing it.
        look: Lines over time, or the newest number.
        bad_from: NUMBER: red from here up; None: never.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    about: str = ""
    look: Look = Look.LINES
    bad_from: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard; `by_node` lets its reader choose a node."""

    uid: str
    title: str
    about: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    by_node: bool = False


def _number(title: str, query: str, *, unit: str = "short", bad_from: float | None = 1, about: str = "") -> Panel:
    return Panel(title, ((query, ""),), unit=unit, about=about, look=Look.NUMBER, bad_from=bad_from)


def _lines(title: str, *queries: tuple[str, str], unit: str = "short", about: str = "") -> Panel:
    return Panel(title, queries, unit=unit, about=about)


MESH = Page(
    "x0-mesh",
    "x0tta6bl4 mesh",
    "Is the mesh well, and who does not report?",
    (
        (
            "Now",
            (
                _number("Nodes declared", "x0tta6bl4_nodes_declared", bad_from=None),
                _number("Oldest sample", "max(x0tta6bl4_node_sample_age_seconds)", unit="s", bad_from=10),
                _number("Interfaces without carrier", "count(ebpf_interface_carrier == 0) or vector(0)"),
                _number("Incidents at work", "sum(job:incidents_at_work:sum)"),
                _number("Ends costed out", "x0tta6bl4_standing_cost_outs"),
                _number("Healing paused", "x0tta6bl4_healing_paused"),
            ),
        ),
        (
            "Nodes",
            (
                _lines("Age of the newest sample", ("x0tta6bl4_node_sample_age_seconds", "{{node}}"), unit="s"),
                _lines("Packets", ("sum by (node) (node_interface:packets:rate1m)", "{{node}}"), unit="pps"),
                _lines("Bytes", ("sum by (node) (node_interface:bytes:rate1m)", "{{node}}"), unit="Bps"),
                _lines(
                    "Carrier changes",
                    ("increase(ebpf_interface_carrier_changes_total[10m])", "{{node}} {{interface}}"),
                    about="In ten minutes; six are an alert.",
                ),
            ),
        ),
    ),
)

NODE = Page(
    "x0-node",
    "x0tta6bl4 one node",
    "What one node sends, receives, loses and cannot measure.",
    (
        (
            "Now",
            (
                _number("Answers a scrape", 'up{job="node",node="$node"}', bad_from=None),
                _number("Newest sample", 'x0tta6bl4_node_sample_age_seconds{node="$node"}', unit="s", bad_from=10),
                _number("Signals missing", 'count(ebpf_signal_missing{node="$node"}) or vector(0)', bad_from=None),
                _number("Smallest MTU", 'min(ebpf_interface_mtu_bytes{node="$node"})', unit="bytes", bad_from=None),
            ),
        ),
        (
            "Traffic",
            (
                _lines(
                    "Packets by interface",
                    ('node_interface:packets:rate1m{node="$node"}', "{{interface}} {{direction}}"),
                    unit="pps",
                ),
                _lines(
                    "Bytes by interface",
                    ('node_interface:bytes:rate1m{node="$node"}', "{{interface}} {{direction}}"),
                    unit="Bps",
                ),
                _lines(
                    "Packets by class",
                    ('sum by (traffic) (rate(ebpf_packets_total{node="$node"}[1m]))', "{{traffic}}"),
                    unit="pps",
                    about="Routing control, probes, data.",
                ),
                _lines("Carrier", ('ebpf_interface_carrier{node="$node"}', "{{interface}}"), about="1 is up."),
            ),
        ),
        (
            "Trouble",
            (
                _lines("Dropped packets", ('node_reason:drops:rate5m{node="$node"}', "{{reason}}"), unit="pps"),
                _lines(
                    "TCP segments sent again", ('node:tcp_retransmits:rate5m{node="$node"}', "segments"), unit="pps"
                ),
                _lines(
                    "TCP states entered",
                    ('sum by (state) (rate(ebpf_tcp_state_changes_total{node="$node"}[5m]))', "{{state}}"),
                    unit="ops",
                ),
            ),
        ),
    ),
    by_node=True,
)

HEALING = Page(
    "x0-healing",
    "x0tta6bl4 healing",
    "What went wrong, what was done about it, and whether it helped.",
    (
        (
            "Waiting for a person",
            (
                _number("Escalated", 'x0tta6bl4_incidents_open{state="escalated"}'),
                _number("Awaiting approval", 'x0tta6bl4_incidents_open{state="awaiting-approval"}'),
                _number("Changes in flight", 'sum(x0tta6bl4_operations{state=~"requested|applied"})', bad_from=None),
                _number("Paused", "x0tta6bl4_healing_paused"),
            ),
        ),
        (
            "Turns of the cycle",
            (
                _lines("Incidents by state", ("x0tta6bl4_incidents_open", "{{state}}")),
                _lines("Outcomes in an hour", ("kind:outcomes:increase1h", "{{kind}}")),
                _lines(
                    "Turns without a fix",
                    ("job:turns_without_a_fix:ratio_increase1h", "ratio"),
                    unit="percentunit",
                    about="Of the hour's turns that acted and were judged.",
                ),
                _lines("Operations by state", ("x0tta6bl4_operations", "{{state}}")),
                _lines("Ends costed out", ("x0tta6bl4_standing_cost_outs", "ends")),
            ),
        ),
    ),
)

PAYMENTS = Page(
    "x0-payments",
    "x0tta6bl4 payments",
    "Is every payment seen, proven and credited, and how long does it take?",
    (
        (
            "Now",
            (
                _number("Furthest behind", "max(x0tta6bl4_scan_lag_seconds)", unit="s", bad_from=300),
                _number("Orders for a person", 'sum(x0tta6bl4_orders{state=~"hold|review"})'),
                _number("Transfers without an order", 'sum(x0tta6bl4_transfers_unmatched{reason!="dust"})'),
                _number("Disputes in a day", "sum(increase(x0tta6bl4_payment_disputes_total[1d]))"),
                _number("Cases open", "sum(x0tta6bl4_payment_cases)", bad_from=None),
            ),
        ),
        (
            "Money",
            (
                _lines(
                    "Credits",
                    ("sum by (asset) (rate(x0tta6bl4_transfers_credited_total[5m]))", "{{asset}}"),
                    unit="ops",
                ),
                _lines(
                    "From block to credit, p95 of an hour",
                    ("asset:block_to_credit_seconds:p95_1h", "{{asset}}"),
                    unit="s",
                    about="The goal is 90 s.",
                ),
                _lines("Orders by state", ("x0tta6bl4_orders", "{{state}}")),
                _lines("Messages waiting", ("x0tta6bl4_outbox_waiting", "{{kind}}")),
            ),
        ),
        (
            "Providers",
            (
                _lines("Behind", ("x0tta6bl4_scan_lag_seconds", "{{chain}}"), unit="s"),
                _lines("Answers", ("provider:answers:rate5m", "{{provider}}"), unit="reqps"),
                _lines(
                    "Calls that bring nothing", ("provider:errors:ratio_rate5m", "{{provider}}"), unit="percentunit"
                ),
                _lines("Duration, p99", ("provider:request_duration_seconds:p99_5m", "{{provider}}"), unit="s"),
                _lines(
                    "Told to wait",
                    ("sum by (provider) (rate(x0tta6bl4_provider_rate_limited_total[5m]))", "{{provider}}"),
                    unit="reqps",
                ),
                _lines(
                    "Rows that are no payment",
                    ("sum by (ruling) (rate(x0tta6bl4_provider_remarks_total[5m]))", "{{ruling}}"),
                    unit="ops",
                ),
            ),
        ),
    ),
)

EBPF = Page(
    "x0-ebpf",
    "x0tta6bl4 eBPF",
    "Do the programs run everywhere, what do they cost, and do they keep up?",
    (
        (
            "Now",
            (
                _number("Counters detached", 'count(ebpf_program_attached{program=~"count_.+"} == 0) or vector(0)'),
                _number("Fullest map", "max(node_map:fill:ratio)", unit="percentunit", bad_from=0.95),
            ),
        ),
        (
            "Programs",
            (
                _lines("Attached", ("sum by (program) (ebpf_program_attached)", "{{program}}")),
                _lines(
                    "CPU in programs",
                    ("node_program:run_time:ratio_rate5m", "{{node}} {{program}}"),
                    unit="percentunit",
                    about="Only where kernel.bpf_stats_enabled=1.",
                ),
                _lines(
                    "Runs",
                    ("sum by (program) (rate(ebpf_program_runs_total[5m]))", "{{program}}"),
                    unit="ops",
                    about="Only where kernel.bpf_stats_enabled=1.",
                ),
            ),
        ),
        (
            "What they keep and lose",
            (
                _lines("Maps", ("node_map:fill:ratio", "{{node}} {{map}}"), unit="percentunit"),
                _lines("Events", ("sum by (kind) (rate(ebpf_events_total[5m]))", "{{kind}}"), unit="ops"),
                _lines("Events lost", ("node:events_lost:rate5m", "{{node}}"), unit="ops"),
                _lines("Signals missing", ("sum by (signal) (ebpf_signal_missing)", "{{signal}}")),
                _lines(
                    "System calls, p99",
                    (
                        "histogram_quantile(0.99, sum by(syscall, le)(rate(ebpf_syscall_duration_seconds_bucket[5m])))",
                        "{{syscall}}",
                    ),
                    unit="s",
                    about="The machine's; nodes that share one as namespaces have none.",
                ),
            ),
        ),
    ),
)

PLATFORM = Page(
    "x0-platform",
    "x0tta6bl4 platform",
    "Does what everything else stands on stand?",
    (
        (
            "Now",
            (
                _number("Gateways answering", 'sum(up{job="gateway"})', bad_from=None),
                _number("Database answering", "min(x0tta6bl4_store_up)", bad_from=None),
                _number("Telegram connected", "max(x0tta6bl4_telegram_up)", bad_from=None),
                _lines("Version", ("x0tta6bl4_build_info", "{{version}} on Python {{python}}")),
            ),
        ),
        (
            "Gateway",
            (
                _lines("Requests", ("route:http_requests:rate5m", "{{route}}"), unit="reqps"),
                _lines("Failures", ("route:http_requests_failed:rate5m", "{{route}}"), unit="reqps"),
                _lines("Duration, p99", ("route:http_request_duration_seconds:p99_5m", "{{route}}"), unit="s"),
                _lines(
                    "Errors", ("sum by (branch) (rate(x0tta6bl4_gateway_errors_total[5m]))", "{{branch}}"), unit="ops"
                ),
            ),
        ),
        (
            "Long runs",
            (
                _lines("Age of the newest beat", ("x0tta6bl4_long_run_beat_age_seconds", "{{role}}"), unit="s"),
                _lines("Takeovers", ("changes(x0tta6bl4_long_run_epoch[15m])", "{{role}}")),
            ),
        ),
        (
            "Telegram",
            (
                _lines(
                    "Messages",
                    ("sum by (result) (rate(x0tta6bl4_telegram_messages_total[5m]))", "{{result}}"),
                    unit="ops",
                ),
                _lines(
                    "Updates", ("sum by (sort) (rate(x0tta6bl4_telegram_updates_total[5m]))", "{{sort}}"), unit="ops"
                ),
                _lines("Errors", ("rate(x0tta6bl4_telegram_errors_total[5m])", "errors"), unit="ops"),
            ),
        ),
    ),
)

PAGES = (MESH, NODE, HEALING, PAYMENTS, EBPF, PLATFORM)
