"""deploy/grafana against the code and the rules; the expressions by Prometheus's own parser. No Grafana is started."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import make
from deploy.grafana.panels import NOT_KNOWN, SCHEMA_VERSION
from tests.harness.dashboards import DASHBOARDS, GRAFANA, filled, panels, targets
from tests.harness.promql import asked, exposed, mistakes, recorded, rules
from tests.harness.requirements import need_promtool

#: Of Grafana's own list of units, those that are used; a `suffix:` is a unit of one's own.
UNITS = {"s", "percentunit", "currencyUSD", "short", "bytes", "watt", "celsius", "joule", "bool_yes_no"}
ALL = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in panels(dashboard)]
PANELS = pytest.mark.parametrize(("name", "panel"), ALL, ids=[f"{name}: {panel['title']}" for name, panel in ALL])


def test_the_committed_dashboards_are_those_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make.check() == 0
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    assert make.check() == 1
    assert "cost.json is not as made: run `make reference`" in capsys.readouterr().err
    assert make.make() == 0
    (tmp_path / "old.json").write_text("{}")
    assert make.check() == 1, "one that nobody makes any more"


def test_there_are_four_with_names_of_their_own() -> None:
    assert set(DASHBOARDS) == {"overview", "cost", "workers-and-gpu", "queue-and-scaling"}
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == 4
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids), "Grafana takes at most 40 characters"
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == 4


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_the_shape_that_grafana_reads(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["schemaVersion"] == SCHEMA_VERSION >= 36
    assert "id" not in dashboard, "Grafana gives it"
    assert dashboard["description"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        columns, lines = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in lines}
        assert not cells & taken, f"{panel['title']} lies over another"
        assert place["x"] + place["w"] <= 24
        taken |= cells
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "model", "tenant"]
    assert variables["datasource"]["type"] == "datasource"
    for variable in list(variables.values())[1:]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found is not None
        assert list(mistakes(filled(found[1]))) == []
        (series,) = asked(filled(found[1])).names
        assert found[2] in exposed()[series]
    for variable in (variables["model"], variables["tenant"]):
        # Regular: all of them are also those without a tenant.
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".*")


@PANELS
def test_a_panel_says_what_it_is_in_its_unit_and_not_0_for_what_is_not_known(name: str, panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith((".", "?"))
    assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix: ")
    assert defaults["noValue"] == NOT_KNOWN
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert defaults["thresholds"]["steps"][0]["value"] is None
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert 'job="$job"' in target["expr"], "of one pipeline"
        if panel["type"] in ("stat", "bargauge"):
            # Over a range it would be the last value that was known, which may be hours old.
            assert (target["instant"], target["range"]) == (True, False)
        else:
            assert defaults["custom"]["spanNulls"] is False
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


@PANELS
def test_a_legend_names_labels_that_its_expression_leaves(name: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        if grouped:
            left = {label.strip() for label in grouped[0].split(",")}
        else:
            (series,) = asked(filled(target["expr"])).names
            left = recorded()[series]
        assert named <= left, target["expr"]


@pytest.mark.parametrize(("whose", "expr"), list(targets()), ids=[whose for whose, _ in targets()])
def test_what_is_asked_for_is_exposed_or_recorded(whose: str, expr: str) -> None:
    assert list(mistakes(filled(expr))) == []


def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    made = [{"record": f"panel:{n}", "expr": filled(expr)} for n, (_, expr) in enumerate(targets())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}), encoding="utf-8")
    done = subprocess.run([need_promtool(), "check", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(made)} rules found" in done.stdout


def test_nothing_is_recorded_that_no_alert_and_no_dashboard_uses() -> None:
    used = {name for rule in rules("alerts.yml") for name in asked(rule["expr"]).names}
    used |= {name for _, expr in targets() for name in asked(filled(expr)).names}
    assert set(recorded()) - used == set()


def test_limits_of_panels_are_those_of_the_alerts() -> None:
    limits = {
        (name, panel["title"]): [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for name, panel in ALL
    }
    alerts = {rule["alert"]: rule["expr"] for rule in rules("alerts.yml")}
    for name, title, alert in (
        ("overview", "Latency, p95", "EmbedwatchHighLatency"),
        ("overview", "Errors", "EmbedwatchHighErrorRate"),
        ("overview", "Cache hits", "EmbedwatchLowCacheHitRate"),
        ("overview", "Oldest text waits", "EmbedwatchHighLag"),
        ("queue-and-scaling", "Texts waiting", "EmbedwatchHighQueueDepth"),
        ("workers-and-gpu", "Longest silence", "EmbedwatchWorkerSilent"),
        ("workers-and-gpu", "Model load", "EmbedwatchSlowModelLoad"),
        ("workers-and-gpu", "GPUs busy", "EmbedwatchLowGpuUtilization"),
    ):
        (limit,) = limits[name, title]
        assert f" {limit:g}" in re.sub(r'"[^"]*"', "", alerts[alert]), title
    assert limits["overview", "Budget spent"] == [0.5, 0.8, 1]


def test_the_dashboards_are_provisioned_with_their_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scraped = yaml.safe_load((GRAFANA.parent / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/embedwatch.yml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)


def test_the_page_links_what_there_is_and_names_alerts_that_exist(root: Path) -> None:
    page = root / "docs" / "how-to" / "prometheus-and-grafana.md"
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "*" not in link:
            assert (page.parent / link).exists(), link
    alerts = {rule["alert"] for rule in rules("alerts.yml")}
    assert set(re.findall(r"`(Embedwatch\w+)`", text)) <= alerts
    on_up = [rule["alert"] for rule in rules("alerts.yml") if "up{job=" in rule["expr"]]
    assert len(on_up) == 2, "as the page says"
    (uid,) = re.findall(r"3000/d/([a-z-]+)", text)
    assert uid in {dashboard["uid"] for dashboard in DASHBOARDS.values()}
