"""Runs all parts of zoolet in processes that lack something, and checks what each step gave.

``taken_away/sitecustomize.py`` takes things away, ``taken_away/scenario.py`` is the run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zoolet
from zoolet.testing import ReservedPort
from zoolet.testing.servers.guard import guarded_environment

TIMEOUT_S = 90
FOLDER = Path(__file__).with_name("taken_away")


class Case(NamedTuple):
    """Something that is taken away.

    Attributes:
        without: names in ``sitecustomize.REMOVALS``.
        variables: changes of the environment; None removes a variable.
        noted: the beginning of a line that the log of the processes must have.
    """

    without: Sequence[str] = ()
    variables: Mapping[str, str | None] = {}
    noted: str = "process "


PROCESSES = (
    "scenario.py",
    "-m zoolet server start ",
    "-m zoolet server start-foreground",
    "-m zoolet shell",
    "-S -P -",
    "executor_program",
    "-m zoolet data",
)
"""A part of the command line of each process, all of which must lack the thing."""


def environment_of(case: Case, directory: Path) -> dict[str, str]:
    """Return the environment of the run."""
    kept = {
        name: value
        for name, value in guarded_environment().items()
        if name.startswith("ZOOLET_TEST")
        or not name.startswith(("PYTHON", "PYTEST", "ZOO", "LC_", "LANG"))
    }
    own = Path(zoolet.__file__).parents[1]
    changed: dict[str, str | None] = {
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{FOLDER}{os.pathsep}{own}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ZOOLET_WITHOUT": ",".join(case.without),
        "ZOOLET_WITHOUT_LOG": str(directory / "processes.log"),
        "ZOOLET_WRITABLE": str(directory),
        **case.variables,
    }
    return {name: value for name, value in (kept | changed).items() if value is not None}


def write_config(directory: Path, port: ReservedPort) -> None:
    """Write the zoo.cfg of the run. A log grows in small steps, so that it must grow often."""
    lines = {
        "tickTime": 200,
        "dataDir": directory / "données",
        "clientPort": port.number,
        "clientPortAddress": "127.0.0.1",
        "preAllocSize": 64,
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "*",
    }
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    (directory / "zoo.cfg").write_text(text, encoding="utf-8")


def run_without(case: Case, directory: Path, wrapper: Sequence[str] = ()) -> None:
    """Run everything, and check the results and the processes; ``wrapper`` starts the run."""
    port = ReservedPort()
    write_config(directory, port)
    scenario = [sys.executable, str(FOLDER / "scenario.py"), str(directory), str(port.number)]
    completed = subprocess.run(
        [*wrapper, *scenario],
        cwd=directory,
        env=environment_of(case, directory),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    print(completed.stdout, completed.stderr)
    assert completed.returncode == 0
    check_results(json.loads(completed.stdout.splitlines()[-1]))
    log = (directory / "données" / "zookeeper.out").read_text(encoding="utf-8")
    assert re.findall(r"^(?!\S+ \S+ INFO ).*", log.rstrip("\n"), re.MULTILINE) == []
    told = (directory / "processes.log").read_text(encoding="utf-8").splitlines()
    for process in PROCESSES:
        assert any(process in line for line in told if line.startswith("process ")), told
    assert any(line.startswith(case.noted) for line in told), told


def check_results(found: dict[str, Any]) -> None:
    """Check what each step of the run gave."""
    for step in ("start", "shell", "stop", "check", "dump"):
        assert found[step]["status"] == 0, found[step]
    assert "STARTED" in found["start"]["out"][-1]
    *printed, exported = found["shell"]["out"]
    assert printed == ["Created /clé", "une valeur: é"]
    assert exported.startswith("Exported 2 znodes of / to ")
    assert found["jobs"] == {
        "a": ["SUCCESSFUL", ["data", "a"], 1],
        "é": ["SUCCESSFUL", ["data", "é"], 1],
        "b": ["SUCCESSFUL", ["data", "b"], 40_000],
    }
    assert "STOPPED" in found["stop"]["out"][-1]
    znodes = [json.loads(line) for line in found["dump"]["out"][1:]]
    assert ("/clé", "une valeur: é") in [(each["path"], each.get("data")) for each in znodes]
    assert found["fixtures"] == 0
    for step, result in found.items():
        if step not in {"jobs", "fixtures"}:
            assert [line for line in result["err"] if not line.startswith("Using config")] == []
