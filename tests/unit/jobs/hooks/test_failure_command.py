"""The command for FAILED jobs gets the job, and its outcome is in the log."""

import json
import logging
import sys
from pathlib import Path

import pytest

from tests.support.waiting import WAIT_S
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.failure_notes import FailureReason, JobFailure
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest

if sys.platform == "win32":
    pytest.skip("a command needs a watcher, which needs POSIX", allow_module_level=True)

from zoolet.jobs.hooks.failure_command import FailureCommand

TIMEOUT_MS = int(WAIT_S * 1000)
WRITE = """
import json, os, sys
names = ("ZOOLET_QUEUE", "ZOOLET_JOB", "ZOOLET_TASK", "ZOOLET_REASON", "ZOOLET_ERROR")
json.dump([json.load(sys.stdin), [os.environ[name] for name in names]], open(sys.argv[1], "w"))
print("written")
print("\\x1b[31mred")
"""


def failure(task: str = "m:f", error: str = "no") -> JobFailure:
    job = Job.draft(JobRequest(task, parameters={"n": 1}), "s-0", 0)
    return JobFailure(job.ended_by(7, error), FailureReason.ATTEMPT, "/jobs/q")


def test_the_command_gets_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a script.py").write_text(WRITE)
    command = f"{sys.executable} '{tmp_path}/a script.py' {tmp_path}/file"
    found = failure(error="no\0 \ud800" + "x" * 5000)
    FailureCommand(command, TIMEOUT_MS).job_failed(found)
    job, variables = json.loads((tmp_path / "file").read_text())
    assert (job["job"], job["state"], job["reason"]) == (found.job.name, "FAILED", "attempt")
    assert job["parameters"] == {"n": 1}
    assert variables[:4] == ["/jobs/q", found.job.name, "m:f", "attempt"]
    assert variables[4].startswith("no ?xxx")
    assert len(variables[4]) < 1001
    assert "has succeeded\nwritten\n" in caplog.text


def test_a_failed_command_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    command = f"{sys.executable} -c 'print(\"why\"); raise SystemExit(4)'"
    FailureCommand(command, TIMEOUT_MS).job_failed(failure())
    assert "has failed: its exit status is 4\nwhy" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    FailureCommand(f"echo a > {tmp_path}/file; touch {tmp_path}/b", TIMEOUT_MS).job_failed(
        failure()
    )
    assert list(tmp_path.iterdir()) == []
    FailureCommand(f"sh -c 'cat > {tmp_path}/file'", TIMEOUT_MS).job_failed(failure())
    assert json.loads((tmp_path / "file").read_text())["task"] == "m:f"


@pytest.mark.parametrize("command", ["", "   ", "''", "echo 'a"])
def test_a_command_that_cannot_be_read_is_refused(command: str) -> None:
    with pytest.raises(InvalidJobError, match="command"):
        FailureCommand(command, TIMEOUT_MS)
