"""Reads and writes the large results of a queue, and chooses the queue's result store.

A queue has one result store. The queue's settings name the store, or the first large result decides
it. The worker that stores the first large result writes the id of its database into the znode
``store``. This id is a random text in the database. Invariants:

- Results are stored only in the database that the znode ``store`` names, so all readers of the
  queue find them. If a worker's store is another database, the attempt fails.
- A result is stored before the job that refers to it is moved to done, with a key that no other
  attempt uses. If the worker dies in between, the result stays without a job that refers to it. A
  job never refers to a missing result.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`, `zoolet.jobs.records` and other
modules of its package.
"""

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from zoolet.jobs.errors import ResultRefusedError, ResultStoreError, UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.results.store import (
    ResultStore,
    default_url,
    existing_id,
    location,
    sqlite_path,
    without_password,
)
from zoolet.jobs.znodes.layout import STORE
from zoolet.jobs.znodes.operations import RefusedError, SetData

if TYPE_CHECKING:
    from zoolet.jobs.queue.queue import JobQueue

log = logging.getLogger(__name__)

REPORTS_LOOKED_AT = 50
"""The most reports of other workers in which a starting worker looks for their stores."""
_CLAIM_TRIES = 10
_ADVICE = "Set one store for all workers: zoolet jobs configure --result-store URL"


def key_of(job: Job) -> str:
    """Return the key for the result of the current attempt of a job that a worker owns."""
    return f"{job.submission}/{job.attempts + 1}/{job.worker}"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The value of the znode ``store``: the database that has the results of a queue.

    Attributes:
        id: the random id in the database; "" if it is not known.
        url: the URL of the database, without the password.
        host: the name of the machine that has the file of the database; None for a database server.
        configured: the URL in the queue's settings when the value was written; None: no URL.
    """

    id: str
    url: str
    host: str | None
    configured: str | None

    def __str__(self) -> str:
        """Return the URL and the host for a message."""
        return self.url if self.host is None else f"{self.url} on host {self.host}"

    def encode(self) -> bytes:
        """Return the value of the znode ``store``."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self | None:
        """Decode the value of the znode ``store``; None if the value is invalid."""
        try:
            found = decode_json(value)
            host, configured = found["host"], found["configured"]
            return cls(
                str(found["id"]),
                str(found["url"]),
                None if host is None else str(host),
                None if configured is None else str(configured),
            )
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True)
class _Choice:
    """The store to use now, and the claim: the value of the znode ``store``, with its version."""

    store: ResultStore
    configured: str | None
    claim: StoreIdentity | None
    claim_version: int | None


class ResultReader:
    """Reads and writes the large results of a queue; opens the store for the first large result.

    Args:
        queue: the queue.
        url: the URL of the store, for example with a password; None: the URL that the queue names.
    """

    def __init__(self, queue: "JobQueue", url: str | None = None) -> None:
        self._znodes = queue.layout.znodes
        self._queue = queue
        self._url = url
        self._lock = threading.RLock()
        self._store: ResultStore | None = None
        self._opened_url = ""
        self._reported: tuple[str, dict[str, Any]] = ("", {})
        """The URL of a SQLite file, and what the last report said about it."""
        self.problem: str | None = None
        """The reason why large results cannot be stored; None: no reason is known."""

    # --- Reading

    def complete(self, job: Job) -> Job:
        """Return the job with its result, which is read from the store if it is stored there.

        Raises:
            ResultStoreError: the store does not reply, or does not have the result any more.
        """
        if job.stored is None:
            return job
        try:
            return job._replace(result=decode_json(self._get(job.stored)))
        except ValueError as error:
            raise ResultStoreError(
                f"the stored result of {job.name} is not JSON: {error}"
            ) from None

    def _get(self, key: str) -> bytes:
        with self._lock:
            store = self._store
        found = None if store is None else self._znodes.blocking(partial(store.get, key))
        if found is not None:
            return found
        choice = self._choose()
        found = self._znodes.blocking(partial(choice.store.get, key))
        if found is not None:
            return found
        here = f"{choice.store.url} on host {socket.gethostname()}"
        if choice.claim is not None and choice.claim.id != self._id_of(choice.store):
            raise ResultStoreError(
                f"the result {key} is in {choice.claim}, but this process reads {here}. Read the"
                f" result on that host, or pass the URL of that store. {_ADVICE}"
            )
        raise ResultStoreError(
            f"{here} has no result {key}: was the result removed by hand, or does the worker use"
            f" another store? A SQLite file is for one machine. {_ADVICE}"
        )

    def _id_of(self, store: ResultStore) -> str:
        return self._znodes.blocking(lambda: store.id)

    # --- Writing

    def put(self, key: str, value: bytes) -> None:
        """Store a result in the queue's store.

        Raises:
            ResultStoreError: the store did not store the result; a later try may succeed.
            ResultRefusedError: the store cannot store the result, or is not the queue's store.
        """
        try:
            self._choose_queues().store.put(key, value)
        except ResultRefusedError as error:
            self.problem = str(error)
            raise
        self.problem = None

    def delete(self, keys: list[str]) -> None:
        """Remove the results with these keys.

        Raises:
            ResultStoreError: the store did not remove the results.
        """
        self._choose().store.delete(keys)

    def queues_store(self) -> ResultStore:
        """Return the queue's store, for a write.

        Raises:
            ResultStoreError: the store does not reply.
            ResultRefusedError: the store of this process is not the queue's store.
        """
        return self._choose_queues().store

    def store_to_read(self) -> ResultStore:
        """Return the store that this process reads.

        Raises:
            ResultStoreError: the store cannot be opened.
        """
        return self._choose().store

    def close(self) -> None:
        """Close the store if it is open."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    # --- Which store

    def _choose(self) -> _Choice:
        """Open the store to use and return it. The settings are read again: they may change."""
        with self._lock:
            configured, claim, version = self._read_claim()
            url = self._url_for(configured, claim)
            if self._store is None or url != self._opened_url:
                opened = self._znodes.blocking(partial(ResultStore, url))
                self.close()
                self._store = opened
                self._opened_url = url
            return _Choice(self._store, configured, claim, version)

    def _url_for(self, configured: str | None, claim: StoreIdentity | None) -> str:
        url = self._url or configured
        if url is not None:
            return url
        if claim is not None and claim.host is None:
            raise ResultRefusedError(
                f"the queue's large results are in {claim}. Pass the URL of this store, with the"
                " login, as --result-store, or Dispatcher(result_store=...)"
            )
        # All users of a machine share the store of the first user, whatever their home directories.
        if claim is not None and claim.host == socket.gethostname():
            return claim.url
        return default_url()

    def _read_claim(self) -> tuple[str | None, StoreIdentity | None, int | None]:
        """Return the store in the queue's settings, the claim, and the version of the claim."""
        try:
            configured = self._queue.layout.read_settings().result_store
        except UnreadableJobError as error:
            raise ResultStoreError(str(error)) from None
        found = self._znodes.get(self._znodes.path(STORE))
        if found is None:
            return configured, None, None
        claim = StoreIdentity.decode(found.data)
        if claim is not None and claim.configured != configured:
            # The queue's settings have changed since the claim was written.
            claim = None
        return configured, claim, found.version

    def _choose_queues(self) -> _Choice:
        """Return the queue's store; if it has none, this process's store becomes the queue's store.

        Raises:
            ResultRefusedError: the store of this process is not the queue's store.
        """
        for _ in range(_CLAIM_TRIES):
            choice = self._choose()
            if choice.claim is not None:
                if choice.claim.id == choice.store.id:
                    return choice
                raise ResultRefusedError(self._differs(str(choice.claim)))
            self._check_is_configured(choice)
            if self._claim(choice):
                return choice
        raise ResultStoreError(
            "other programs change the queue's result store all the time. Set one store for all"
            " workers, and do not change it"
        )

    def _claim(self, choice: _Choice) -> bool:
        """Make the chosen store the queue's store; return False if another worker was faster."""
        store = choice.store
        host = socket.gethostname() if store.is_local else None
        mine = StoreIdentity(store.id, store.url, host, choice.configured)
        path = self._znodes.path(STORE)
        if choice.claim_version is None:
            is_written = self._znodes.create(path, mine.encode())
        else:
            is_written = self._replace(path, mine.encode(), choice.claim_version)
        if is_written:
            log.info("the queue's large results are in %s", mine)
        return is_written

    def _replace(self, path: str, data: bytes, version: int) -> bool:
        try:
            self._znodes.multi([SetData(path, data, version)], landed=lambda: False)
        except RefusedError:
            return False
        return True

    def _check_is_configured(self, choice: _Choice) -> None:
        """Raise ResultRefusedError if the queue's settings name another store."""
        configured = choice.configured
        if configured is None or location(configured) == location(self._opened_url):
            return
        other = ResultStore(configured)
        try:
            if other.id != choice.store.id:
                raise ResultRefusedError(self._differs(other.url))
        finally:
            other.close()

    def _differs(self, other: str) -> str:
        where = without_password(self._opened_url)
        return (
            f"the result store of this worker, {where} on host {socket.gethostname()}, is not the"
            f" queue's result store ({other}), so readers would not find the result. {_ADVICE}"
        )

    # --- The check of a worker's store when the worker starts

    def check(self) -> str | None:
        """Return the reason why large results cannot be stored; None if no reason is found.

        The check does not connect to a database server.
        """
        try:
            self.problem = self._look()
        except ResultStoreError as error:
            self.problem = str(error)
        return self.problem

    def _look(self) -> str | None:
        configured, claim, _ = self._read_claim()
        url = self._opened_url = self._url_for(configured, claim)
        path = sqlite_path(url)
        if path is None:
            if configured is not None and location(configured) != location(url):
                return self._differs(without_password(configured))
            return None
        own_id = existing_id(path)
        if claim is not None:
            return None if claim.id == own_id else self._differs(str(claim))
        if configured is not None and location(configured) != str(path):
            other_path = sqlite_path(configured)
            other_id = None if other_path is None else existing_id(other_path)
            if own_id is None or other_id != own_id:
                return self._differs(without_password(configured))
        for worker, other in self._stores_of_others():
            # Workers on one host share the store of the first worker that has a large result.
            is_same = own_id is not None and other.get("id") == own_id
            if other.get("host") not in {None, socket.gethostname()} and not is_same:
                where = f"{other.get('url')} on host {other.get('host')}"
                own = f"{without_password(url)} on host {socket.gethostname()}"
                return (
                    f"the queue's result store is not decided yet: this worker would use"
                    f" {own}, but worker {worker} would use {where}. Large results of one of them"
                    f" fail. {_ADVICE}"
                )
        return None

    def _stores_of_others(self) -> Iterator[tuple[str, dict[str, Any]]]:
        layout = self._queue.layout
        workers = layout.workers()[:REPORTS_LOOKED_AT]
        found = self._znodes.get_all([layout.worker(worker) for worker in workers])
        for worker, znode in zip(workers, found, strict=True):
            with contextlib.suppress(ValueError):
                report = decode_json(znode.data) if znode else None
                other = report.get("result_store") if isinstance(report, dict) else None
                if isinstance(other, dict):
                    yield worker, other

    def about(self) -> dict[str, Any]:
        """Return the fields about the result store for a worker's report."""
        url = self._opened_url
        about: dict[str, Any] = {"url": without_password(url) or None}
        # A report must not wait for a lock, because jobs wait for the report.
        with contextlib.suppress(ResultStoreError):
            path = sqlite_path(url)
            if path is not None:
                found = existing_id(path, wait_s=0.0)
                self._reported = url, {"host": socket.gethostname(), "id": found}
        if self._reported[0] == url:
            about |= self._reported[1]
        return {"result_store": about, "result_store_problem": self.problem}
