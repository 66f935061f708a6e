"""Java objects in Python, through Py4J: Java's client of ZooKeeper, and Curator.

PySpark's jars contain Curator and Py4J (`make conformance` unpacks them), and no compiler of Java
is necessary.
"""

import contextlib
import importlib.util
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest


def require_gateway(jars: Path) -> None:
    """Skip the test where Curator or Py4J is missing."""
    if not list(jars.glob("curator-recipes-*.jar")) or not list(jars.glob("py4j-*.jar")):
        pytest.skip("needs Curator and Py4J among the jars: run make conformance")
    if importlib.util.find_spec("py4j") is None:
        pytest.skip("needs the Python package py4j: run make kerberos")


@contextlib.contextmanager
def java(jars: Path, options: Sequence[str]) -> Iterator[Any]:
    """Start a Java program, and yield its classes: ``java.org.apache.zookeeper.ZooKeeper``."""
    from py4j.java_gateway import GatewayParameters, JavaGateway  # noqa: PLC0415 -- optional

    log = "-Dlog4j2.level=WARN"
    command = ["java", *options, log, "-cp", f"{jars}/*", "py4j.GatewayServer"]
    process = subprocess.Popen(
        [*command, "--die-on-broken-pipe", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_convert=True))
        yield gateway.jvm
        gateway.shutdown()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()
