"""The manifests for Kubernetes: valid for its schemas, consistent, and a zoo.cfg that serves."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.manifests import ROOT, load_yaml, run, run_tool
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort, ServerProcess

MANIFESTS = ROOT / "packaging" / "kubernetes"
FILES = sorted({*MANIFESTS.glob("*.yaml")} - {MANIFESTS / "kustomization.yaml"})
VERSIONS = ("1.29.0", "1.37.0")
"""An old and a new version of Kubernetes, whose schemas kubernetes-validate has."""


def objects() -> Iterator[dict[str, Any]]:
    """Yield all objects of the manifests."""
    for path in FILES:
        yield from load_yaml(path)


def by_kind(kind: str) -> list[dict[str, Any]]:
    return [found for found in objects() if found["kind"] == kind]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str) -> None:
    run_tool("kubernetes-validate", "--strict", "-k", version, *FILES)


def test_a_wrong_manifest_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "statefulset.yaml"
    wrong.write_text(
        (MANIFESTS / "statefulset.yaml").read_text().replace("replicas: 1", "replica: 1")
    )
    with pytest.raises(AssertionError, match="replica"):
        run_tool("kubernetes-validate", "--strict", "-k", VERSIONS[-1], wrong)


def test_the_kustomization_names_each_file() -> None:
    (kustomization,) = load_yaml(MANIFESTS / "kustomization.yaml")
    assert set(kustomization["resources"]) == {path.name for path in FILES}
    (generated,) = kustomization["configMapGenerator"]
    assert generated == {"name": "zoolet-config", "files": ["zoo.cfg"]}


def test_what_kustomize_makes_is_valid(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; it renders the kustomization")
    made = tmp_path / "made.yaml"
    made.write_text(run(["kubectl", "kustomize", MANIFESTS]))
    run_tool("kubernetes-validate", "--strict", "-k", VERSIONS[-1], made)
    (config,) = [found for found in load_yaml(made) if found["kind"] == "ConfigMap"]
    assert config["data"] == {"zoo.cfg": (MANIFESTS / "zoo.cfg").read_text()}


def test_the_objects_agree() -> None:
    (stateful_set,) = by_kind("StatefulSet")
    spec = stateful_set["spec"]
    pod = spec["template"]
    labels = pod["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    services = {service["metadata"]["name"]: service["spec"] for service in by_kind("Service")}
    assert services[spec["serviceName"]]["clusterIP"] == "None"
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for service in services.values():
        assert service["selector"] == labels
        assert all(ports[port["targetPort"]] == port["port"] for port in service["ports"])
    (budget,) = by_kind("PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == labels
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_the_settings_are_those_of_the_manifests() -> None:
    (stateful_set,) = by_kind("StatefulSet")
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"][-1] == f"{mounts['config']}/zoo.cfg"
    config = read_config(MANIFESTS / "zoo.cfg")
    assert str(config.data_dir) == mounts["data"]
    assert (config.client_port, config.client_address) == (ports["client"], None)
    assert config.metrics is not None
    assert (config.metrics.port, config.metrics.address) == (ports["metrics"], None)
    assert config.admin is not None
    assert config.admin.listener.address == "127.0.0.1"


def test_the_probes_are_answered_by_a_server_with_these_settings(tmp_path: Path) -> None:
    """Only the addresses and the directory differ from those in a pod."""
    port = ReservedPort()
    lines = (MANIFESTS / "zoo.cfg").read_text().splitlines()
    written = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for key in ("dataDir", "clientPort", "admin.serverPort", "tickTime"):
        del written[key]
    written |= {
        "metricsProvider.httpPort": str(port.number),
        "metricsProvider.httpHost": "127.0.0.1",
        "admin.enableServer": "false",
    }
    with ServerProcess(tmp_path, written) as server:
        with urllib.request.urlopen(f"http://{port.address}/metrics", timeout=10) as answer:
            assert answer.status == 200
        assert server.ask("ruok") == "imok"


def test_the_pod_has_no_privileges() -> None:
    (stateful_set,) = by_kind("StatefulSet")
    pod = stateful_set["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert json.dumps(container["resources"]).count("memory") == 2
