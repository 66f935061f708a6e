"""Tasks by name."""

import pytest

from tests.support import jobtasks
from zoolet.jobs.errors import TaskError
from zoolet.jobs.tasks import find_loader, find_task


def test_a_task_is_found_by_module_and_function() -> None:
    assert find_task("tests.support.jobtasks:describe") is jobtasks.describe
    assert find_loader("tests.support.jobtasks:load") is jobtasks.load


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonsense", "write module:function"),
        (":f", "write module:function"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("tests.support.jobtasks:missing", "has no missing"),
        ("tests.support.jobtasks:NOT_CALLABLE", "is a int, not a function"),
    ],
)
def test_what_is_no_task_is_said(name: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        find_task(name)
