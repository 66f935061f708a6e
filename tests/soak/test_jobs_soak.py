"""The soak test of the job system, for a short time: ``make jobs-soak`` runs it for long."""

from pathlib import Path

import pytest

from tests.soak.soak import soak


@pytest.mark.timeout(600)
def test_jobs_survive_random_faults(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--soak-seed")
    report = soak(tmp_path, seed, request.config.getoption("--soak-s"))
    print(report.text)
    assert not report.problems, report.text
