"""What a program imports of zoolet loads no package that it does not use.

``python -m benchmarks.imports`` measures the time.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
    "zoolet.entry": set(),
    "zoolet.server.cli.commands": {"click"},
    "zoolet.server.cli.foreground": set(),
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


UNUSED = {
    *("_ctypes", "_json", "_ssl", "ast", "click", "ctypes", "datetime", "dis", "email", "gettext"),
    *("h11", "inspect", "json", "platform", "shlex", "tempfile", "uuid"),
}
"""What a server without TLS and without clients does not need."""


class TracedServer(ServerProcess):
    """A server whose log has the name of each module that it imports."""

    def _command(self) -> Sequence[str]:
        python, *arguments = super()._command()
        return [python, "-X", "importtime", *arguments]

    @property
    def imported(self) -> set[str]:
        return set(re.findall(r"^import time: .*\| +([\w.]+)$", self.log, re.MULTILINE))


def test_a_server_without_clients_loads_no_module_in_vain(tmp_path: Path) -> None:
    with TracedServer(tmp_path / "server") as server:
        assert server.ask("ruok") == "imok"
        assert "zoolet.server.service" in server.imported
        assert UNUSED & server.imported == set()
