"""Tasks and a loader for the workers that tests start."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from kazoo.exceptions import NoNodeError


def load(dataset: str, groupid: str) -> str:
    """A group is just its name."""
    if dataset == "unloadable":
        raise OSError("the disk with this data set is gone")
    return f"{dataset}/{groupid}"


def describe(group: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"group": group, **parameters}


def fail(_group: str, parameters: dict[str, Any]) -> None:
    raise ValueError(f"no luck with {parameters.get('of', 'this')}")


def fail_like_kazoo(_group: str, _parameters: dict[str, Any]) -> None:
    raise NoNodeError("of the task")


def fail_first(_group: str, parameters: dict[str, Any]) -> str:
    """Fail at the first attempt, succeed at the next."""
    marker = Path(parameters["marker"])
    if marker.exists():
        return "second attempt"
    marker.touch()
    raise ValueError("first attempt")


def leave(_group: str, _parameters: dict[str, Any]) -> None:
    sys.exit(3)


def not_json(_group: str, _parameters: dict[str, Any]) -> object:
    return object()


def too_large(_group: str, _parameters: dict[str, Any]) -> str:
    return "x" * (1 << 20)


def die_first(_group: str, parameters: dict[str, Any]) -> str:
    """End the worker's process at the first attempt."""
    marker = Path(parameters["marker"])
    if marker.exists():
        return "second worker"
    marker.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def wait_for_file(_group: str, parameters: dict[str, Any]) -> str:
    """Say that it runs, and end when the test lets it."""
    Path(parameters["running"]).touch()
    while not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return "waited"


NOT_CALLABLE = 3
