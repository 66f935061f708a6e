"""A task is given as a function or by its name; what workers cannot import is refused."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from zoolet.jobs import InvalidJobError, JobRequest


def at_top_level(group: object, parameters: object) -> None:
    """Stand for a task."""


class Tasks:
    @staticmethod
    def static(group: object, parameters: object) -> None:
        """Stand for a task."""

    def method(self, group: object, parameters: object) -> None:
        """Stand for a task."""


def nested() -> Callable[..., None]:
    def inner(group: object, parameters: object) -> None:
        """Stand for a task."""

    return inner


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("m:f", "m:f"),
        (json.dumps, "json:dumps"),
        (at_top_level, f"{__name__}:at_top_level"),
        (Tasks.static, f"{__name__}:Tasks.static"),
    ],
)
def test_a_function_becomes_its_name(task: Any, name: str) -> None:
    request = JobRequest(task, "d", "1")
    assert request.task == name
    assert request.key == JobRequest(name, "d", "1").key


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (lambda *_: None, "a lambda"),
        (nested(), "a function inside a function"),
        (functools.partial(at_top_level, None), "neither a function nor a name"),
        (functools.wraps(at_top_level)(nested()), "does not lead to the function"),
        (Tasks().method, "does not lead to the function"),
        (7, "neither a function nor a name"),
        (None, "neither a function nor a name"),
    ],
)
def test_what_no_worker_can_import_is_refused(task: Any, complaint: str) -> None:
    with pytest.raises(InvalidJobError, match=complaint):
        JobRequest(task, "d", "1")


def test_a_function_of_the_program_itself_is_refused() -> None:
    program = (
        "from zoolet.jobs import InvalidJobError, JobRequest\n"
        "def f(group, parameters): ...\n"
        "try:\n    JobRequest(f, 'd', '1')\n"
        "except InvalidJobError as error:\n    print(error)\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "move the function to a module" in completed.stdout
