"""A test that hangs does not hang the whole test run, even if pytest-timeout cannot end it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.support import hanging

hanging.AFTER_TIMEOUT_S = 0.5


def pytest_configure(config):
    config.pluginmanager.register(hanging)
"""
SWALLOWS = """
import time


def test_hangs():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def test_after():
    pass
"""
HANGS_IN_TEARDOWN = """
import threading
import time

import pytest


@pytest.fixture
def resource():
    yield
    threading.Event().wait()


def test_hangs(resource):
    time.sleep(60)


def test_after():
    pass
"""


@pytest.mark.parametrize(
    ("suite", "reports"),
    # Where the teardown hangs, the call and the process are reported as failed.
    [pytest.param(SWALLOWS, 1, id="swallows"), pytest.param(HANGS_IN_TEARDOWN, 2, id="teardown")],
)
def test_a_test_that_its_timeout_does_not_end(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str, reports: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(suite)
    options = ("-n", "1", "--timeout", "0.5", "-p", "no:zoolet", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*options, timeout=60)
    result.assert_outcomes(failed=reports, passed=1)
    result.stdout.fnmatch_lines(["*worker * crashed while running*test_hangs*"])
    result.stderr.fnmatch_lines(["Timeout (0:00:0*)!", "*in *"])
