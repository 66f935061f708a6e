"""Reads and writes the large results of a queue, and chooses the queue's result store.

A queue has one result store. The queue's settings have its name, and each program has a URL for the
name. The worker that stores the first large result writes the id of its database into the znode
``store``. This id is a random text in the database. Invariants:

- No text in a znode decides to which database or file a program connects, except for the name.

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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from zoolet.jobs.errors import ResultRefusedError, ResultStoreError, UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.settings import DEFAULT_STORE, IGNORED_URL
from zoolet.jobs.results.store import (
    ResultStore,
    default_url,
    existing_id,
    place_of,
    sqlite_path,
)
from zoolet.jobs.results.urls import StoreUrls, missing_url
from zoolet.jobs.znodes.layout import STORE
from zoolet.jobs.znodes.operations import RefusedError, SetData

if TYPE_CHECKING:
    from zoolet.jobs.queue.queue import JobQueue

log = logging.getLogger(__name__)

REPORTS_LOOKED_AT = 50
"""The most reports of other workers in which a starting worker looks for their stores."""
_CLAIM_TRIES = 10
_ADVICE = (
    "Use one store for all programs: zoolet jobs configure --result-store NAME, and"
    " --result-store-url NAME=URL for each program"
)
_ADVICE_FOR_URL = (
    "the queue's settings have the URL of a result store, which is not used any more. Give the"
    " store a name: zoolet jobs configure --result-store NAME. Give its URL to each program:"
    " --result-store-url NAME=URL"
)


def key_of(job: Job) -> str:
    """Return the key for the result of the current attempt of a job that a worker owns."""
    return f"{job.submission}/{job.attempts + 1}/{job.worker}"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The value of the znode ``store``: the database that has the results of a queue.

    Attributes:
        id: the random id in the database; "" if it is not known.
        name: the name of the store in the queue's settings when the value was written.
        place: where the database is, for messages only.
        host: the name of the machine that has the file of the database; None for a database server.
    """

    id: str
    name: str
    place: str
    host: str | None

    def __str__(self) -> str:
        """Return the place and the host for a message."""
        return self.place if self.host is None else f"{self.place} on host {self.host}"

    def encode(self) -> bytes:
        """Return the value of the znode ``store``."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self | None:
        """Decode the value of the znode ``store``; None if the value is invalid."""
        try:
            found = decode_json(value)
            host = found["host"]
            # Earlier versions have no name, but URLs. The settings had a URL, or named no store.
            name = IGNORED_URL if found.get("configured") else DEFAULT_STORE
            place = found["place"] if "place" in found else place_of(str(found["url"]))
            return cls(
                str(found["id"]),
                str(found.get("name", name)),
                str(place),
                None if host is None else str(host),
            )
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True)
class _Choice:
    """The store to use now, and the claim: the value of the znode ``store``, with its version."""

    store: ResultStore
    name: str
    claim: StoreIdentity | None
    claim_version: int | None


class ResultReader:
    """Reads and writes the large results of a queue; opens the store for the first large result.

    Args:
        queue: the queue.
        urls: the URLs of result stores by name; None: no URLs.

    Raises:
        InvalidJobError: a name or a URL is invalid.
    """

    def __init__(self, queue: "JobQueue", urls: Mapping[str, str] | None = None) -> None:
        self._znodes = queue.layout.znodes
        self._queue = queue
        self._urls = StoreUrls(urls)
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
        here = f"{choice.store.place} on host {socket.gethostname()}"
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
            name, claim, version = self._read_claim()
            url = self._url_for(name, claim)
            if self._store is None or url != self._opened_url:
                opened = self._znodes.blocking(partial(ResultStore, url))
                self.close()
                self._store = opened
                self._opened_url = url
            return _Choice(self._store, name, claim, version)

    def _url_for(self, name: str, claim: StoreIdentity | None) -> str:
        url = self._urls.find(name)
        if url is not None:
            return url
        if name == IGNORED_URL:
            raise ResultRefusedError(_ADVICE_FOR_URL)
        if name != DEFAULT_STORE:
            raise missing_url(name)
        if claim is not None and claim.host is None:
            raise ResultRefusedError(f"the queue's large results are in {claim}. {_ADVICE}")
        return default_url()

    def _read_claim(self) -> tuple[str, StoreIdentity | None, int | None]:
        """Return the store's name in the queue's settings, the claim, and the claim's version."""
        try:
            name = self._queue.layout.read_settings().store_name
        except UnreadableJobError as error:
            raise ResultStoreError(str(error)) from None
        found = self._znodes.get(self._znodes.path(STORE))
        if found is None:
            return name, None, None
        claim = StoreIdentity.decode(found.data)
        if claim is not None and claim.name != name:
            # The queue's settings have changed since the claim was written.
            claim = None
        return name, claim, found.version

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
        mine = StoreIdentity(store.id, choice.name, store.place, host)
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

    def _differs(self, other: str) -> str:
        where = place_of(self._opened_url)
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
        name, claim, _ = self._read_claim()
        url = self._opened_url = self._url_for(name, claim)
        path = sqlite_path(url)
        if path is None:
            return None
        own_id = existing_id(path)
        if claim is not None:
            return None if claim.id == own_id else self._differs(str(claim))
        for worker, other in self._stores_of_others():
            # Workers on one host share the store of the first worker that has a large result.
            is_same = own_id is not None and other.get("id") == own_id
            if other.get("host") not in {None, socket.gethostname()} and not is_same:
                where = f"{other.get('place')} on host {other.get('host')}"
                own = f"{place_of(url)} on host {socket.gethostname()}"
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
        about: dict[str, Any] = {"place": place_of(url) if url else None}
        # A report must not wait for a lock, because jobs wait for the report.
        with contextlib.suppress(ResultStoreError):
            path = sqlite_path(url)
            if path is not None:
                found = existing_id(path, wait_s=0.0)
                self._reported = url, {"host": socket.gethostname(), "id": found}
        if self._reported[0] == url:
            about |= self._reported[1]
        return {"result_store": about, "result_store_problem": self.problem}
