"""The console scripts as tests run them: in a process of their own, also without root's power."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.skips import needs
from zoolet.testing import ReservedPort

SCRIPTS = Path(sys.executable).parent
TIMEOUT_S = 90

_WITHOUT_POWER = "-dac_override,-dac_read_search,-fowner,-chown,-kill,-sys_resource"
"""Root without these capabilities is refused what the modes of files refuse."""

_NO_ERROR = re.compile(r"Using config: |[-\d]{10} [:,\d]{12} (INFO|WARNING) ")

Completed = subprocess.CompletedProcess[str]


def run_script(
    name: str,
    *arguments: str | Path,
    variables: Mapping[str, str] | None = None,
    has_power: bool = True,
    cwd: Path | None = None,
    text: str = "",
) -> Completed:
    """Run a script; ``variables`` are added to the environment, ``text`` is its input."""
    command: Sequence[str | Path] = [SCRIPTS / name, *arguments]
    if not has_power and os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", _WITHOUT_POWER, *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **(variables or {})},
        cwd=cwd,
        input=text,
    )


def require_powerless() -> None:
    """Skip where root cannot give up its power over files."""
    if os.geteuid() == 0:
        probe = ["setpriv", "--bounding-set", _WITHOUT_POWER, "true"]
        try:
            subprocess.run(probe, check=True, capture_output=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(needs("setpriv, with which root gives up its rights", "util-linux"))


def write_zoo_cfg(directory: Path, port: ReservedPort, **settings: object) -> Path:
    """Write a zoo.cfg for a server on ``port`` of this machine."""
    written = {
        "tickTime": 200,
        "dataDir": directory / "data",
        "clientPort": port.number,
        "clientPortAddress": "127.0.0.1",
        "admin.enableServer": "false",
        "preAllocSize": 64,
        **settings,
    }
    path = directory / "zoo.cfg"
    path.write_text("".join(f"{key}={value}\n" for key, value in written.items()))
    return path


def assert_one_line_of_advice(completed: Completed, *said: str) -> None:
    """Check that a command failed with one line that says why, and without a traceback."""
    told = [line for line in completed.stderr.splitlines() if not _NO_ERROR.match(line)]
    assert completed.returncode not in {0, 120}, completed
    assert len(told) == 1, completed
    assert "Traceback" not in completed.stdout + completed.stderr
    for words in said:
        assert words in told[0], completed
