"""What users do with zoolet, in one run: server, shell, fixtures, jobs, data tools.

Usage: python scenario.py DIRECTORY PORT. The last line of the output is a JSON object with what
each step gave; ``tests/platform/test_taken_away.py`` knows what it must be.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoolet.jobs import Dispatcher, JobRequest, Worker
from zoolet.jobs.execution import child_process

TIMEOUT_S = 60
PLUGIN = "zoolet.testing.pytest_plugin"
FOLDER = Path(__file__).parent
COMMANDS = """\
create /clé "une valeur: é"
get /clé
export / {export}
"""


def run(*words: str, text: str = "") -> dict[str, Any]:
    """Run a command of zoolet, and return what it printed and its exit status."""
    # As bytes: Python itself may be limited to ASCII here.
    completed = subprocess.run(
        [sys.executable, "-m", "zoolet", *(word.encode() for word in words)],
        input=text.encode(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return {
        "status": completed.returncode,
        "out": completed.stdout.decode().splitlines(),
        "err": completed.stderr.decode().splitlines(),
    }


def run_jobs(hosts: str, directory: Path) -> dict[str, Any]:
    """Run jobs in a process of their own, and return the results and the output."""
    # A watcher's Python imports no sitecustomize by itself.
    child_process._WATCHER = b"import sitecustomize\n" + child_process._WATCHER
    stores = {"default": f"sqlite:///{directory / 'results.db'}"}
    with (
        Worker(hosts, "/queue", loader="tasks_of_platform:load", result_stores=stores),
        Dispatcher(hosts, "/queue", result_stores=stores) as dispatcher,
    ):
        batch = dispatcher.submit_batch(
            [
                JobRequest("tasks_of_platform:greet", "data", name, {"name": name * size})
                for name, size in (("a", 1), ("é", 1), ("b", 40_000))
            ]
        )
        jobs = list(batch.results(timeout_s=TIMEOUT_S))
    return {
        str(job.groupid): [job.state.value, job.result["group"], len(job.result["name"])]
        for job in jobs
    }


def main(directory: Path, port: str) -> None:
    """Run all steps."""
    hosts = f"127.0.0.1:{port}"
    config = str(directory / "zoo.cfg")
    found: dict[str, Any] = {"start": run("server", "start", config)}
    try:
        commands = COMMANDS.format(export=directory / "exporté")
        found["shell"] = run("shell", "-server", hosts, text=commands)
        found["jobs"] = run_jobs(hosts, directory)
    finally:
        found["stop"] = run("server", "stop", config)
    found["check"] = run("data", "check", f"{directory}/données")
    found["dump"] = run("data", "export", f"{directory}/données")
    tests = str(FOLDER / "fixtures_of_platform.py")
    options = ["-q", "--noconftest", "-c", "/dev/null", "-p", "no:cacheprovider", "-p", PLUGIN]
    found["fixtures"] = int(pytest.main([*options, tests]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
