"""The unit and the manifest of a worker: valid, and consistent with the options of the worker."""

import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.support.manifests import ROOT, load_yaml, run, run_tool
from zoolet.jobs.cli.worker_command import worker
from zoolet.jobs.worker.health import LOOK_LIMIT_S

UNIT = ROOT / "packaging" / "systemd" / "zoolet-worker@.service"
DEPLOYMENT = ROOT / "packaging" / "kubernetes-worker" / "deployment.yaml"


def value(key: str) -> str:
    """Return the value of a key that the unit has once."""
    lines = [line for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]
    assert len(lines) == 1, lines
    return lines[0].partition("=")[2]


def seconds(key: str) -> float:
    text = value(key)
    return float(text.removesuffix("min")) * 60 if text.endswith("min") else float(text)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the options of a worker as its command parses them."""
    context = worker.make_context("worker", ["--queue", "/jobs/q", *arguments])
    return context.params


def container() -> dict[str, Any]:
    (deployment,) = load_yaml(DEPLOYMENT)
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: it is in Debian's package systemd")
    copy = tmp_path / "zoolet-worker@reports.service"
    copy.write_text(UNIT.read_text().replace("/usr/lib/zoolet/bin/zoolet", "/bin/true"))
    assert run([program, "verify", "--man=no", copy]) == ""


def test_the_limits_of_the_unit_fit_the_worker() -> None:
    arguments = value("ExecStart").split()[2:]
    options = parsed([one for one in arguments if not one.startswith("$")])
    assert options["grace_ms"] < 1000 * seconds("TimeoutStopSec")
    assert seconds("WatchdogSec") >= LOOK_LIMIT_S
    assert value("KillMode") == "mixed"
    assert value("OOMPolicy") == "continue"
    assert str(options["status_file"]).startswith("%t/" + value("RuntimeDirectory") + "/")


@pytest.mark.parametrize("version", ["1.29.0", "1.37.0"])
def test_the_manifest_is_valid(version: str) -> None:
    run_tool("kubernetes-validate", "--strict", "-k", version, DEPLOYMENT)


def test_the_manifest_fits_the_worker() -> None:
    (deployment,) = load_yaml(DEPLOYMENT)
    options = parsed(container()["args"])
    grace_s = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert options["grace_ms"] < 1000 * grace_s
    (port,) = container()["ports"]
    assert options["health_port"] == port["containerPort"]
    assert options["health_address"] == "0.0.0.0"
    probes = {
        name: container()[f"{name}Probe"]["httpGet"]
        for name in ("startup", "readiness", "liveness")
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert [probe["path"] for probe in probes.values()] == ["/ready", "/ready", "/live"]
    limit_mib = int(container()["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert options["max_executors"] * options["attempt_memory_mib"] < limit_mib


def test_each_variable_of_the_manifest_is_one_of_the_worker() -> None:
    names = {option.envvar for option in worker.params if isinstance(option, click.Option)}
    assert {variable["name"] for variable in container()["env"]} <= names


def test_the_options_of_the_unit_are_in_the_help() -> None:
    shown = CliRunner().invoke(worker, ["--help"]).output
    for option in [one for one in value("ExecStart").split() if one.startswith("--")]:
        assert option in shown
