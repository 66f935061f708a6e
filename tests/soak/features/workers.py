"""Workers that run for long: executors by the number of jobs, replacements, probes, status files.

Invariants: a worker has as many executors as it may have; an executor's process runs no more jobs
than permitted; a status file is always complete JSON, and a probe gets an answer.
"""

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.soak.features.base import ASYNC, BUSY, Feature, Found
from tests.soak.processes import WorkerProcess
from zoolet.jobs import Dispatcher

EXECUTORS = {BUSY: 3, ASYNC: 1}
JOBS = 40
_PORT = re.compile(r"^health on port (\d+) of", re.MULTILINE)
_LIMIT_S = 5.0


class LongRunningWorkers(Feature):
    """See the docstring of the module."""

    pause_s = (0.5, 2.0)

    def options(self, kind: str) -> Sequence[str]:
        return (
            *("--health-port", "0", "--status-file", "status-TAG.json"),
            *("--max-executor-mib", "300", "--max-jobs-per-executor", str(JOBS)),
            *("--executors", "1", "--max-executors", str(EXECUTORS[kind])),
            *("--executor-idle-ms", "2000"),
        )

    def use(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        for worker in self.stage.workers():
            found = _PORT.search(worker.log_path.read_text(errors="replace"))
            if found is not None:
                for path in ("live", "ready", "status"):
                    self._probe(worker, int(found[1]), path)
            self._read_status_file(worker)

    def _probe(self, worker: WorkerProcess, port: int, path: str) -> None:
        try:
            health = _answer(f"http://127.0.0.1:{port}/{path}")
        except OSError:
            # It has just ended, or it is frozen.
            self.count("probes without an answer")
            return
        self.count(f"probes of a worker that is {health['state']}")
        if health["executors"] > EXECUTORS[worker.kind] + 1:
            self.problem(f"{worker.tag} has {health['executors']} executors")

    def _read_status_file(self, worker: WorkerProcess) -> None:
        path = self.stage.home / f"status-{worker.tag}.json"
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            return
        except ValueError as error:
            self.problem(f"the status file of {worker.tag} is not complete: {error}")
        self.count("status files read")

    def problems(self, found: Found) -> Iterator[str]:
        del found
        runs = Counter(line["pid"] for line in self.stage.lines("tasks"))
        yield from (
            f"the process {pid} ran {count} jobs, of {JOBS}"
            for pid, count in runs.items()
            if count > JOBS
        )


def _answer(url: str) -> dict[str, Any]:
    """Return the answer to a probe, whatever its status is."""
    try:
        reply = urllib.request.urlopen(url, timeout=_LIMIT_S)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        found: dict[str, Any] = json.load(reply)
    return found
