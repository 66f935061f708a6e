"""The place of one queue in a worker: its parts while the worker serves it, and its return.

If a worker has several queues, an error about one of them ends the parts for this queue only. A
thread waits until the queue can be served again, and then makes new parts. Invariants:

- The worker creates its queues when it starts. It does not create a queue again that was deleted
  while the worker runs: it waits for the znode of the queue's settings, with a watch.
- After another error, for example because a permission is missing, the thread tries again after a
  pause, which doubles up to `PAUSE_MOST_S`.
- The new parts begin only after the ephemerals of the old parts are deleted. So no job is owned by
  an id that is registered, but that no part uses.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.znodes` and other modules of its package.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from zoolet.jobs.errors import DisconnectedError, JobError
from zoolet.jobs.worker.executor_news import ExecutorNews
from zoolet.jobs.worker.queue_run import QueueRun, QueueSurroundings
from zoolet.jobs.worker.queue_shares import QueueShare
from zoolet.jobs.worker.served_queues import ServedQueue
from zoolet.jobs.worker.tally import Tally
from zoolet.jobs.znodes.layout import SETTINGS

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
SERVED: Final = "served"


class QueuePlace:
    """One queue of a worker.

    Args:
        served: the queue.
        around: what the parts get from their worker.
        share: the queue's share of the executors.
        news: passes the messages of executors on to the parts.
        stopping: an event, set when the worker stops.
        is_alone: whether the worker has only this queue. Then each error ends the worker.
        on_failure: called with the error that ends the worker.

    Attributes:
        served: the queue.
        first: the parts with which the worker starts.
        run: the parts for the queue; None while the worker cannot serve it.
        state: ``served``, or the reason why the worker does not serve the queue now.
        tally: the counts of the worker's work in the queue.
    """

    def __init__(
        self,
        served: ServedQueue,
        around: QueueSurroundings,
        share: QueueShare,
        news: ExecutorNews,
        *,
        stopping: threading.Event,
        is_alone: bool,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.served = served
        self.state = SERVED
        self.tally = Tally()
        self.worker_id_before = ""
        self._around = around
        self._share = share
        self._news = news
        self._stopping = stopping
        self._is_alone = is_alone
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._early: tuple[QueueRun, BaseException] | None = None
        """The last failure of parts that were not in use yet, or not any more."""
        self._changed = threading.Event()
        """Set when the queue may have been created, and when the worker stops."""
        self.first = self._new_run()
        self.run: QueueRun | None = self.first
        news.join(served.tag, self.first.listener, share)

    @property
    def worker_id(self) -> str:
        """The latest id of the worker in this queue; "" before the first registration."""
        run = self.run
        return self.worker_id_before if run is None else run.registration.worker_id

    def stop_returning(self) -> None:
        """Wake the thread that waits for the queue, because the worker stops."""
        self._changed.set()

    def _new_run(self) -> QueueRun:
        return QueueRun(self.served, self._around, self._share, self.tally, self._failed)

    def _failed(self, run: QueueRun, error: BaseException) -> None:
        """Handle the failure of a part. Any thread may call this, also a thread of the parts."""
        is_other = not isinstance(error, JobError) or isinstance(error, DisconnectedError)
        with self._lock:
            is_served = self.run is run
            if not is_served:
                self._early = run, error
        if self._is_alone or is_other or (is_served and not run.is_started):
            self._on_failure(error)
            return
        with self._lock:
            if self.run is not run or self._stopping.is_set():
                return
            self.worker_id_before = run.registration.worker_id
            self.run, self.state = None, str(error)
        log.warning(
            "the worker leaves the queue %s, and goes on with its other queues: %s",
            self.served.root,
            error,
        )
        threading.Thread(target=self._return, args=(run,), name="queue-return", daemon=True).start()

    def _return(self, old: QueueRun) -> None:
        """Leave the queue, and serve it again when this is possible."""
        try:
            self._news.leave(self.served.tag)
            left = old.leave()
            pause_s = PAUSE_S
            while not self._stopping.is_set():
                left, is_missing = self._try_to_return(left)
                if self.run is not None:
                    return
                # A wait without a time limit ends, too: the watch or the stop sets the event.
                self._changed.wait(None if is_missing else pause_s)
                pause_s = PAUSE_S if is_missing else min(PAUSE_MOST_S, 2 * pause_s)
        except BaseException as error:
            if isinstance(error, DisconnectedError) and self._stopping.is_set():
                return
            log.exception("the queue %s cannot be left, which ends the worker", self.served.root)
            self._on_failure(error)

    def _try_to_return(self, left: list[str]) -> tuple[list[str], bool]:
        """Make new parts if the queue can be served.

        Returns the ephemerals of earlier parts that still exist, and whether the queue is missing.
        """
        self._changed.clear()
        try:
            run = self._new_run()
        except JobError as error:  # the file of keys cannot be read
            self.state = str(error)
            return left, False
        try:
            with run.queue.layout.znodes.within(None, "return to a queue"):
                if not self._exists(run):
                    run.leave()
                    return left, True
                while left:
                    run.queue.layout.znodes.delete(left[-1])
                    left.pop()
                self._news.join(self.served.tag, run.listener, self._share)
                run.register(create=False)
                run.start()
                self._use(run)
        except DisconnectedError:
            raise
        except JobError as error:
            self._news.leave(self.served.tag)
            self.state = str(error)
            return [*left, *run.leave()], False
        log.info("the worker serves the queue %s again", self.served.root)
        return left, False

    def _exists(self, run: QueueRun) -> bool:
        """Return whether the queue exists; if not, watch for its creation."""
        znodes = run.queue.layout.znodes
        path = znodes.path(SETTINGS)
        if znodes.exists(path) or znodes.exists(path, lambda _: self._changed.set()):
            return True
        self.state = (
            f"there is no queue at {self.served.root}: create it, then the worker serves it"
        )
        return False

    def _use(self, run: QueueRun) -> None:
        """Begin to use started parts, unless one of their threads has failed already."""
        with self._lock:
            if self._early is not None and self._early[0] is run:
                raise self._early[1]
            if self._stopping.is_set():
                raise DisconnectedError("the worker stops")
            self.run, self.state = run, SERVED
