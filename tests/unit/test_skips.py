"""A test run lists the tests that it skips, grouped by what they miss, also under pytest-xdist."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.skips import TITLE, lines_of, needs

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.support import skips


def pytest_configure(config):
    config.pluginmanager.register(skips)
"""
FIRST = """
import pytest


@pytest.fixture
def database():
    pytest.skip("needs a database: install Debian's package postgresql")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_stores(database, number):
    pass


@pytest.mark.skipif(True, reason="needs a compiler: install Debian's package gcc")
def test_compiles():
    pass


def test_passes():
    pass
"""
SECOND = """
import pytest


def test_reads():
    pytest.skip("needs a database: install Debian's package postgresql")
"""


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_skipped_tests_are_listed_by_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_first=FIRST, test_second=SECOND)
    options = ("-rfExX", "-p", "no:zoolet", "-p", "no:cacheprovider", *processes)
    result = pytester.runpytest_subprocess(*options, timeout=60)
    result.assert_outcomes(skipped=5, passed=1)
    result.stdout.fnmatch_lines(
        [
            f"=* {TITLE} =*",
            "4 tests: needs a database: install Debian's package postgresql",
            "        test_first.py (3), test_second.py (1)",
            "1 test: needs a compiler: install Debian's package gcc",
            "        test_first.py (1)",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("SKIPPED*")


def test_a_run_that_skips_no_test_has_no_list(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_passes():\n    pass\n")
    result = pytester.runpytest_subprocess("-p", "no:zoolet", "-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line(f"*{TITLE}*")


def test_a_reason_names_the_packages() -> None:
    assert needs("a JDK", "default-jdk-headless") == (
        "needs a JDK: install Debian's package default-jdk-headless"
    )
    assert needs("Java", "default-jre-headless", "libzookeeper-java") == (
        "needs Java: install Debian's packages default-jre-headless and libzookeeper-java"
    )


def test_a_long_list_of_files_is_wrapped_between_files() -> None:
    files = Counter({f"tests/unit/test_{number}.py": number for number in range(1, 9)})
    lines = list(lines_of({"no reason": files}, width=60))
    assert lines[0] == "36 tests: no reason"
    assert all(len(line) <= 60 for line in lines)
    listed = " ".join(line.strip() for line in lines[1:])
    assert listed.split(", ") == [f"{file} ({number})" for file, number in sorted(files.items())]
