"""What tasks wrote while they ran: one `Run` for each time that a task was called."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Run:
    """One run of a task.

    Attributes:
        job_id: the number of the job in the plan.
        name: a random id, which the task's result has too.
        worker: the tag of the worker process.
        started_ms: when it started, in ms since the epoch.
        ended_ms: when the task returned or raised; None if its process ended before.
        has_returned: whether it returned.
        pid: the process that it ran in.
    """

    job_id: int
    name: str
    worker: str
    started_ms: int
    ended_ms: int | None = None
    has_returned: bool = False
    pid: int = 0


def read_runs(home: Path) -> dict[int, list[Run]]:
    """Return the runs of each job, in the order in which they started."""
    found: dict[int, list[Run]] = {}
    for path in (home / "runs").iterdir():
        job_id = int(path.name)
        runs: dict[str, Run] = {}
        for line in path.read_text().splitlines():
            note = json.loads(line)
            if note["what"] == "started":
                run = Run(job_id, note["run"], note["worker"], note["at_ms"], pid=note["pid"])
                runs[run.name] = run
            else:
                runs[note["run"]].ended_ms = note["at_ms"]
                runs[note["run"]].has_returned = note["what"] == "returned"
        found[job_id] = sorted(runs.values(), key=lambda run: run.started_ms)
    return found
