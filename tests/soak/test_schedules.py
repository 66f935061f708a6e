"""Schedules under faults, for a short time: ``make jobs-schedules`` runs them for long."""

from pathlib import Path

import pytest

from tests.soak.schedules import run


@pytest.mark.timeout(300)
def test_each_due_time_has_one_job_under_faults(tmp_path: Path) -> None:
    report = run(tmp_path, seed=3, seconds=8, count=60)
    print(report.text)
    assert not report.problems, report.text
