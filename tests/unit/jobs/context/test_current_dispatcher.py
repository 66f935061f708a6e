"""The current dispatcher is that of the innermost block, in its own thread."""

import threading
from typing import Any

import pytest

from zoolet.jobs.context.current_dispatcher import (
    current_dispatcher,
    enter_dispatcher,
    leave_dispatcher,
)
from zoolet.jobs.context.current_job import CurrentJob, begin_job, current_job, end_job
from zoolet.jobs.context.task_dispatcher import TaskDispatcher
from zoolet.jobs.errors import JobError
from zoolet.jobs.records.progress import Progress


class Unheard:
    """An attempt whose progress nobody gets."""

    def progressed(self, progress: Progress) -> None: ...

    def is_wanted(self) -> bool:
        return True


class Opened:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self, *, timeout_s: float) -> None:
        assert timeout_s > 0
        self.is_closed = True


def test_the_innermost_dispatcher_is_the_current_one() -> None:
    first, second = object(), object()
    enter_dispatcher(first)
    enter_dispatcher(second)
    assert current_dispatcher() is second
    # The blocks may end in another order, for example with two async tasks.
    leave_dispatcher(first)
    assert current_dispatcher() is second
    leave_dispatcher(second)
    with pytest.raises(JobError, match="no current dispatcher"):
        current_dispatcher()


def test_another_thread_has_no_dispatcher() -> None:
    enter_dispatcher(object())
    found: list[Any] = []

    def look() -> None:
        with pytest.raises(JobError) as raised:
            current_dispatcher()
        found.append(raised.value)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert len(found) == 1
    leave_dispatcher(current_dispatcher())


def test_a_task_has_the_dispatcher_of_its_executor_which_is_opened_once() -> None:
    opened: list[Opened] = []

    def open_it() -> Opened:
        opened.append(Opened())
        return opened[-1]

    shared = TaskDispatcher(open_it)
    token = begin_job(CurrentJob("n", "m:f", None, 1, 500, shared, Unheard()))
    assert opened == []
    assert current_dispatcher() is current_job().dispatcher is opened[0]
    own = object()
    enter_dispatcher(own)
    assert current_dispatcher() is own
    leave_dispatcher(own)
    assert current_job().deadline_ms is not None
    end_job(token)
    shared.close()
    assert [one.is_closed for one in opened] == [True]
    with pytest.raises(JobError, match="no job runs here"):
        current_job()


def test_a_job_without_a_worker_has_no_dispatcher() -> None:
    token = begin_job(CurrentJob("n", "m:f", None, 1, None, TaskDispatcher(), Unheard()))
    with pytest.raises(JobError, match="without a worker"):
        current_dispatcher()
    assert current_job().deadline_ms is None
    end_job(token)
