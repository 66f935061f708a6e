"""Batched tasks: one call of the function gets the arguments of several jobs.

In an executor that makes several attempts at a time, the attempts of the task wait for each other:
the function is called when a batch is full, or some time after its first job has come. In other
executors each call gets one job. Invariant: each job gets its own result or error, or the error of
the call. This module imports `zoolet.jobs.errors` and other modules of its package.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.tasks.base import BaseTask

if TYPE_CHECKING:
    from zoolet.jobs.dispatcher.batch import Batch
    from zoolet.jobs.dispatcher.dispatcher import Dispatcher
    from zoolet.jobs.records.job_requests import JobRequest

I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

BATCH_MOST: Final = 1000
_WAIT_MOST_MS: Final = 60_000


class BatchedTask(BaseTask, Generic[I_contra, R_co]):
    """A decorated function that gets the arguments of several jobs; see `task`.

    A call has a list of items, one for each job, and returns a list of results in their order. An
    exception in this list is the error of its job. Its methods have one item: that of one job.
    """

    def __init__(
        self, function: Callable[..., Any], options: Mapping[str, Any], batch: int, wait_ms: int
    ) -> None:
        if not 1 <= batch <= BATCH_MOST or not 0 <= wait_ms <= _WAIT_MOST_MS:
            raise InvalidJobError(
                f"batch {batch!r} is not 1 to {BATCH_MOST}, or batch_wait_ms {wait_ms!r} is not"
                f" 0 to {_WAIT_MOST_MS}"
            )
        super().__init__(function, options, has_group=False, signature_of=_one_item)
        self._gatherer = _Gatherer(function, batch, wait_ms / 1000)

    def __call__(self, items: "Sequence[I_contra]", /) -> R_co:
        """Call the function here, with the items of several jobs."""
        result: R_co = self.function(items)
        return result

    def request(self, item: I_contra, /) -> "JobRequest":
        """Return the request for a job with this item; see `Task.request`."""
        return self._request((item,), {})

    def submit(self, item: I_contra, /) -> "Batch":
        """Submit a job with this item with the current dispatcher; see `Task.submit`."""
        return self._submit(None, (item,), {})

    def submit_to(self, dispatcher: "Dispatcher", /, item: I_contra) -> "Batch":
        """Submit a job with this item with this dispatcher; see `Task.submit`."""
        return self._submit(dispatcher, (item,), {})

    def run(self, group: object, parameters: Mapping[str, Any]) -> Any:
        """Call the function with one item; return its result, or a coroutine that returns it."""
        del group
        item = self._item(parameters)
        results = self.function([item])
        if isinstance(results, CoroutineType):
            return _first_of(results)
        return _result(_checked(results, 1)[0])

    def run_in_loop(self, group: object, parameters: Mapping[str, Any]) -> Any:
        """Return a coroutine that waits for the call with this item, and returns its result."""
        del group
        return self._gatherer.add(self._item(parameters))

    def _item(self, parameters: Mapping[str, Any]) -> Any:
        args, kwargs = self._arguments.of(parameters)
        return _one_item(*args, **kwargs)


def _one_item(item: Any) -> Any:
    return item


class _Outcome:
    """What a call has returned for one job, or its error, which other jobs may share."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._traceback = result.__traceback__ if isinstance(result, BaseException) else None

    def value(self) -> Any:
        """Return the result, or raise the error."""
        if isinstance(self._result, BaseException):
            # Each raise of an exception adds frames to it. Without this, the error of each job
            # would have the frames of all jobs before it.
            raise self._result.with_traceback(self._traceback)
        return self._result


class _Gatherer:
    """Gathers items until a batch is full or its first item has waited long enough."""

    def __init__(self, function: Callable[..., Any], batch: int, wait_s: float) -> None:
        self._function = function
        self._batch = batch
        self._wait_s = wait_s
        self._waiting: list[tuple[Any, asyncio.Future[_Outcome]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def add(self, item: Any) -> Any:
        """Wait for the call with this item, and return the result of the item."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Outcome] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._batch:
            self._call()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._call)
        return (await future).value()

    def _call(self) -> None:
        """Call the function with the items whose jobs were not cancelled in the meantime."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        wanted = [(item, future) for item, future in waiting if not future.done()]
        if wanted:
            # The call belongs to no job, so `current_job` must not return one of them.
            call = asyncio.get_running_loop().create_task(
                self._make_call(wanted), context=contextvars.Context()
            )
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _make_call(self, wanted: Sequence[tuple[Any, "asyncio.Future[_Outcome]"]]) -> None:
        results: Sequence[Any]
        try:
            found = self._function([item for item, _ in wanted])
            if inspect.isawaitable(found):
                found = await found
            results = _checked(found, len(wanted))
        except BaseException as error:  # noqa: BLE001 -- the error belongs to the attempts
            results = [error] * len(wanted)
        for (_, future), result in zip(wanted, map(_Outcome, results), strict=True):
            if not future.done():
                future.set_result(result)


async def _first_of(results: "CoroutineType[Any, Any, Any]") -> Any:
    return _result(_checked(await results, 1)[0])


def _checked(results: Any, count: int) -> Sequence[Any]:
    """Return the results of a call, if there is one for each item."""
    if not isinstance(results, list | tuple) or len(results) != count:
        kind = f"{len(results)} results" if isinstance(results, list | tuple) else type(results)
        raise TypeError(f"a batched task must return a list of {count} results, not {kind}")
    return results


def _result(result: Any) -> Any:
    """Return a result; raise a result that is an exception."""
    if isinstance(result, BaseException):
        raise result
    return result
