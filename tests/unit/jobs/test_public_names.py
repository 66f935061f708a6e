"""The names of zoolet.jobs: each is there, and an executor loads only what it needs."""

import subprocess
import sys

import pytest

import zoolet.jobs

HEAVY = ("asyncio", "click", "kazoo", "prometheus_client", "rich", "sqlalchemy")


@pytest.mark.parametrize("name", zoolet.jobs.__all__)
def test_each_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(zoolet.jobs, name) is getattr(zoolet.jobs, name)
    assert name in dir(zoolet.jobs)


def test_only_public_names_are_looked_up() -> None:
    assert sorted(zoolet.jobs._MODULES) == sorted(zoolet.jobs.__all__)
    with pytest.raises(AttributeError, match=r"module 'zoolet\.jobs' has no attribute 'Woker'"):
        getattr(zoolet.jobs, "Woker")  # noqa: B009 -- mypy knows that it is missing


def test_an_executors_process_loads_no_client_and_no_database() -> None:
    program = (
        "import sys, zoolet.jobs.execution.executor_program\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
