"""The alert rules and the dashboard: every metric in them exists, and every alert is explained."""

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.jobs import ROOT as QUEUE
from tests.support.jobs import WorkerProcess, write_tasks
from tests.support.manifests import ROOT, load_yaml, run
from tests.support.waiting import WAIT_S
from zoolet.archive.metrics import serve_metrics
from zoolet.archive.writing.figures import figures
from zoolet.archive.writing.status import Status
from zoolet.jobs import JobQueue
from zoolet.testing import ReservedPort, ServerProcess

MONITORING = ROOT / "packaging" / "monitoring"
ALERTS = MONITORING / "alerts.yml"
DASHBOARD = MONITORING / "grafana.json"
PAGE = ROOT / "docs" / "operating.md"
PROVIDER = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"

OF_PROMETHEUS = "up"
"""Prometheus itself makes this metric, for each target."""
OPERATORS = {"and", "or", "unless"}
OF_PROMETHEUS_LABELS = {"job", "instance"}
"""Prometheus itself adds these labels."""

Sample = tuple[str, frozenset[tuple[str, str]]]


class Selector(NamedTuple):
    """A metric in an expression, and the labels that select its series."""

    metric: str
    labels: frozenset[tuple[str, str]]


def selectors(expression: str) -> Iterator[Selector]:
    """Yield the selectors of an expression in PromQL."""
    text = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)|\[[^\]]*\]", " ", expression)
    for match in re.finditer(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(\{[^}]*\})?(?![^{]*\})", text):
        if match[1] not in OPERATORS:
            labels = re.findall(r'(\w+)="([^"$]*)"', match[2] or "")
            yield Selector(match[1], frozenset(labels))


def of_variable(query: str) -> Iterator[Selector]:
    """Yield the selector of a variable of the dashboard, ``label_values(SELECTOR, LABEL)``."""
    match = re.fullmatch(r"label_values\((.*), \w+\)", query)
    assert match is not None, query
    yield from selectors(match[1])


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return shown


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    (document,) = load_yaml(ALERTS)
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> set[Sample]:
    """The samples of a server, of a worker and of an archiver."""
    directory = tmp_path_factory.mktemp("monitoring")
    write_tasks(directory)
    port = ReservedPort()
    settings = {
        "metricsProvider.className": PROVIDER,
        "metricsProvider.httpHost": "127.0.0.1",
        "metricsProvider.httpPort": port.number,
    }
    with ServerProcess(directory / "server", settings) as server:
        client = server.client()
        client.start()
        JobQueue(client, QUEUE).ensure_layout()
        worker = WorkerProcess(server.hosts, directory, "--metrics-port", "0")
        assert worker.process.stdout is not None
        url = worker.process.stdout.readline().split()[-1]
        found = samples_of(f"http://{port.address}/metrics") | samples_of(url)
        archive_port = serve_metrics(0, partial(figures, Status()))
        found |= samples_of(f"http://127.0.0.1:{archive_port}/metrics")
        worker.close()
        client.stop()
        client.close()
    return found


def samples_of(url: str) -> set[Sample]:
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in families
        for sample in family.samples
    }


def missing(wanted: set[Selector], samples: set[Sample]) -> set[Selector]:
    """Return the selectors that select none of the samples."""

    def selects(selector: Selector, sample: Sample) -> bool:
        own = {pair for pair in selector.labels if pair[0] not in OF_PROMETHEUS_LABELS}
        return sample[0] == selector.metric and own <= sample[1]

    return {
        selector
        for selector in wanted
        if selector.metric != OF_PROMETHEUS
        and not any(selects(selector, sample) for sample in samples)
    }


def test_selectors_are_found() -> None:
    expression = (
        'sum by (le, x) (rate(a_total{k="v", job="j", i=~"$i"}[5m])) / max(b) > 2.5 and c:d[1h] < 7'
    )
    assert list(selectors(expression)) == [
        Selector("a_total", frozenset({("k", "v"), ("job", "j")})),
        Selector("b", frozenset()),
        Selector("c:d", frozenset()),
    ]
    samples = {("b", frozenset({("k", "w")})), ("up", frozenset())}
    assert missing({Selector("b", frozenset()), Selector("up", frozenset())}, samples) == set()
    assert missing({Selector("b", frozenset({("k", "v")}))}, samples)
    assert missing({Selector("a", frozenset())}, samples)


def test_each_metric_of_the_alerts_exists(
    rules: list[dict[str, Any]], samples: set[Sample]
) -> None:
    wanted = {selector for rule in rules for selector in selectors(rule["expr"])}
    assert len({selector.metric for selector in wanted}) > 15
    assert missing(wanted, samples) == set()


def test_each_metric_of_the_dashboard_exists(
    dashboard: dict[str, Any], samples: set[Sample]
) -> None:
    wanted = {
        selector
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for selector in selectors(target["expr"])
    }
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            wanted |= set(of_variable(variable["query"]["query"]))
    assert len({selector.metric for selector in wanted}) > 25
    assert missing(wanted, samples) == set()


def test_each_alert_has_a_summary_and_a_section_of_the_page(rules: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^### (Zoolet\w+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        url = rule["annotations"]["runbook_url"]
        assert url.endswith(f"/docs/operating.md#{rule['alert'].lower()}")


def test_expressions_are_complete(rules: list[dict[str, Any]], dashboard: dict[str, Any]) -> None:
    expressions = [rule["expr"] for rule in rules]
    panels = dashboard["panels"]
    expressions += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    for expression in expressions:
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
        assert expression.count('"') % 2 == 0, expression
    for rule in rules:
        assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))
        # The value of a comparison is true or nothing, so an alert without one always fires.
        assert re.search(r"[<>=]=? [\d.]+$", rule["expr"].strip()), rule["expr"]


def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    return program


def test_prometheus_accepts_the_rules() -> None:
    assert "SUCCESS" in run([promtool(), "check", "rules", ALERTS])


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """The series and the expected alerts are in alerts_test.yml."""
    tests = Path(__file__).with_name("alerts_test.yml").read_text()
    copy = tmp_path / "alerts_test.yml"
    copy.write_text(tests.replace("ALERTS", str(ALERTS)))
    assert "SUCCESS" in run([promtool(), "test", "rules", copy])


def test_the_panels_of_the_dashboard_do_not_overlap(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", DASHBOARD.read_text()))
    assert used == variables
