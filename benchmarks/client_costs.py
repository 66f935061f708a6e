"""What a client costs before its first call: the time of its import, and its memory when idle."""

import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

IMPORTS = 10
"""Processes whose median is one figure of an import."""

EMPTY = "pass"
IMPORT = {
    "zoolet": "from zoolet.client import Client",
    "kazoo": "from kazoo.client import KazooClient",
}
CONNECT = {
    "zoolet": "client = Client(sys.argv[1]); client.start()",
    "kazoo": "client = KazooClient(sys.argv[1]); client.start()",
}

_IDLE = """
import time
time.sleep(0.5)
print(open("/proc/self/status").read())
"""
_TIMEOUT_S = 30.0


def import_ms(library: str, environment: Mapping[str, str]) -> float:
    """Return the time of an import by ``-X importtime``, less that of an empty program."""
    return _median_ms(IMPORT[library], environment) - _median_ms(EMPTY, environment)


def idle_mb(library: str, hosts: str, environment: Mapping[str, str]) -> float:
    """Return the resident memory of a connected idle client, less that of an empty program."""
    program = f"import sys\n{IMPORT[library]}\n{CONNECT[library]}\n{_IDLE}"
    return _resident_mb(program, hosts, environment) - _resident_mb(_IDLE, hosts, environment)


def imported_us(report: str) -> int:
    """Return the sum of the times of all modules in the report of ``-X importtime``."""
    times = [
        line.removeprefix("import time:").split("|")[0].strip()
        for line in report.splitlines()
        if line.startswith("import time:")
    ]
    return sum(int(self_us) for self_us in times if self_us.isdigit())


def resident_mb(status: str) -> float:
    """Return the resident memory in the text of ``/proc/PID/status``."""
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def _median_ms(program: str, environment: Mapping[str, str]) -> float:
    return statistics.median(
        imported_us(_run(("-X", "importtime", "-c", program), environment).stderr) / 1000
        for _ in range(IMPORTS)
    )


def _resident_mb(program: str, hosts: str, environment: Mapping[str, str]) -> float:
    return resident_mb(_run(("-c", program, hosts), environment).stdout)


def _run(
    arguments: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path("/"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=True,
    )
