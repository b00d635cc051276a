"""Drawing pages with Grafana's own SDK: one JSON document a dashboard."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

from infra.deploy.grafana.pages import Look, Page, Panel

FOLDER = Path(__file__).parent / "dashboards"
# The uid that provisioning/datasources gives; without it a dashboard would ask for one at import.
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
NUMBER_SIZE, LINES_SIZE = (4, 4), (8, 8)  # columns and rows; six numbers or three graphs side by side


def built(page: Page) -> str:
    """Return a page as the JSON that Grafana reads."""
    made = (
        dashboards.Dashboard(page.title)
        .uid(page.uid)
        .description(page.about)
        .tags(["x0tta6bl4"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
    )
    if page.by_node:
        made = made.with_variable(
            dashboards.QueryVariable("node")
            .label("Node")
            .datasource(SOURCE)
            .query("label_values(ebpf_interface_carrier, node)")
        )
    for title, panels in page.rows:
        made = made.with_row(dashboards.Row(title))
        for panel in panels:
            made = made.with_panel(_drawn(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _drawn(panel: Panel) -> stat.Panel | timeseries.Panel:
    width, height = NUMBER_SIZE if panel.look is Look.NUMBER else LINES_SIZE
    made: stat.Panel | timeseries.Panel = stat.Panel() if panel.look is Look.NUMBER else timeseries.Panel()
    made = made.title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE)
    made = made.span(width).height(height)
    if panel.look is Look.NUMBER:
        steps = [Threshold(value=None, color="green")]
        if panel.bad_from is not None:
            steps.append(Threshold(value=panel.bad_from, color="red"))
        made = made.thresholds(dashboards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for letter, (query, legend) in zip("ABCDEF", panel.queries, strict=False):
        made = made.with_target(prometheus.Dataquery().expr(query).legend_format(legend).ref_id(letter))
    return made


def file_of(page: Page, folder: Path = FOLDER) -> Path:
    """Return where a page's JSON lies."""
    return folder / f"{page.uid.removeprefix('x0-')}.json"
