"""What a program imports of zoolet loads no package that it does not use.

``python -m benchmarks.imports`` measures the time.
"""

import subprocess
import sys

import pytest

from zoolet.testing import ServerProcess

FAR = {
    "click",
    "h11",
    "kazoo",
    "prometheus_client",
    "prompt_toolkit",
    "pytest",
    "rich",
    "sqlalchemy",
}
"""Packages that take a while to import."""

ALLOWED = {
    "zoolet": set(),
    "zoolet.client": {"kazoo"},
    "zoolet.jobs": set(),
    "zoolet.testing": set(),
    "zoolet.console.extras": set(),
    "zoolet.cli": {"click"},
    "zoolet.server.cli.commands": {"click"},
    "zoolet.server.cli.running": set(),
    "zoolet.server.service": set(),
    "zoolet.jobs.worker.worker": {"kazoo"},
    "zoolet.shell.main": {"rich"},
    "zoolet.testing.servers.embedded": {"kazoo"},
}
"""The packages that each module may load."""

ZOOLETS_OWN = {
    "zoolet.client": {"zoolet.server", "zoolet.jobs", "zoolet.shell", "zoolet.storage"},
    "zoolet.jobs": {"zoolet.server", "zoolet.shell", "zoolet.storage"},
    "zoolet.server.cli.running": {"zoolet.client", "zoolet.jobs", "zoolet.shell"},
    "zoolet.shell.main": {"zoolet.server", "zoolet.jobs", "zoolet.storage"},
}
"""The packages of zoolet that a module must not load."""


def loaded_by(module: str) -> set[str]:
    program = f"import {module}, sys; print(*sys.modules)"
    completed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return set(completed.stdout.split())


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_loads_only_what_it_uses(module: str) -> None:
    loaded = loaded_by(module)
    assert FAR & loaded <= ALLOWED[module]
    assert not {
        name
        for name in loaded
        for forbidden in ZOOLETS_OWN.get(module, ())
        if name == forbidden or name.startswith(f"{forbidden}.")
    }


SLOW = {
    "asyncio",
    "dataclasses",
    "encodings.idna",
    "inspect",
    "ipaddress",
    "kazoo",
    "pathlib",
    "random",
    "ssl",
    "urllib",
    "uuid",
    "uvloop",
}
"""What a client without TLS does not need: it takes time to import, or memory."""


def test_a_connected_client_loads_no_slow_module() -> None:
    program = """
import sys
from zoolet.client import Client
with Client(sys.argv[1]) as client:
    client.get("/")
print(*sys.modules)
"""
    with ServerProcess() as server:
        completed = subprocess.run(
            [sys.executable, "-c", program, server.hosts],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert not SLOW & set(completed.stdout.split())
