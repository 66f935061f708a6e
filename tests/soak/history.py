"""What happened to each job of a queue, from the server's transaction log.

The log has every change in its order. So invariants are checked at every instant of the past, and
not only at the end. Values are read as plain JSON: the checks share no code with the job system.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoolet.data.directory_reader import directories_of, txns_in
from zoolet.model.txns import CloseSessionTxn, CreateTxn, DeleteTxn, SetDataTxn, TxnBody
from zoolet.storage.open_acls import changes_in

PLACES = ("deferred", "unowned", "owned", "done")
ENTRY = "entry-"
_VALUES = ("task", "parameters", "limit_key", "finished_ms")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands from a time on, and what its znode's value then says.

    Attributes:
        at_ms: the time of the txn, in ms since the epoch.
        zxid: the txn.
        places: the places where it has a znode: exactly one, unless it was removed.
        job_id: its number in the plan.
        attempts: how many attempts are counted.
        state, worker, not_before_ms: as in the value.
        held_by: the name of its batch, if that waits for another one.
        errors: the messages of the attempts that failed.
        run: the name of the run whose result it has; "" without a result.
        is_stored: whether the result is in the result store.
        values: fields of the value that only the features need.
    """

    at_ms: int
    zxid: int
    places: tuple[str, ...]
    job_id: int = 0
    attempts: int = 0
    state: str = ""
    worker: str | None = None
    not_before_ms: int = 0
    held_by: str | None = None
    errors: tuple[str, ...] = ()
    run: str = ""
    is_stored: bool = False
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def place(self) -> str:
        """Where it stands; "" if it was removed."""
        return self.places[0] if self.places else ""


@dataclass(slots=True)
class WorkerLife:
    """A worker id: when its ephemeral was created and deleted, and the process id in it."""

    created_ms: int
    pid: int
    deleted_ms: int | None = None


@dataclass(slots=True)
class History:
    """What happened in a queue.

    Attributes:
        jobs: for each name of a job, where it stood, in order.
        workers: by worker id.
        chains: for each batch that waited for another, when its znode was created and deleted.
        logged: how often each job was appended to the log of its batch.
        end_ms: the time of the last txn.
    """

    jobs: dict[str, list[Standing]] = field(default_factory=dict)
    workers: dict[str, WorkerLife] = field(default_factory=dict)
    chains: dict[str, list[int]] = field(default_factory=dict)
    logged: dict[str, list[str]] = field(default_factory=dict)
    end_ms: int = 0


def read_histories(data_dir: Path, roots: Sequence[str]) -> dict[str, History]:
    """Return what happened in queues, by root, from the logs of a server that has ended."""
    readers = {root: _Reader(root) for root in roots}
    for logged in txns_in(directories_of(data_dir)):
        header = logged.txn.header
        for reader in readers.values():
            reader.apply(header.time_ms, header.zxid, logged.txn.body)
    return {root: reader.history for root, reader in readers.items()}


class _Reader:
    def __init__(self, root: str) -> None:
        self.history = History()
        self._prefix = root + "/"
        self._places: dict[str, dict[str, bytes]] = {}
        """By the name of a job, what it has in which place."""

    def apply(self, at_ms: int, zxid: int, body: TxnBody) -> None:
        self.history.end_ms = max(self.history.end_ms, at_ms)
        changed: dict[str, None] = {}
        for path, data in _changes(body):
            if not path.startswith(self._prefix):
                continue
            top, _, rest = path.removeprefix(self._prefix).partition("/")
            name = rest.rpartition("/")[2]
            if top in PLACES and name.startswith(ENTRY):
                self._change(top, name, data)
                changed[name] = None
            elif top == "workers" and rest:
                self._change_worker(rest, data, at_ms)
            elif top == "chains" and rest:
                self.history.chains.setdefault(rest, []).append(at_ms)
            elif top == "batches" and "/log/" in rest and data:
                batch = rest.partition("/")[0]
                names = [one for some in json.loads(data).values() for one in some]
                self.history.logged.setdefault(batch, []).extend(names)
        for name in changed:
            self._stands(name, at_ms, zxid)

    def _change(self, place: str, name: str, data: bytes | None) -> None:
        places = self._places.setdefault(name, {})
        if data is None:
            places.pop(place, None)
        else:
            places[place] = data

    def _stands(self, name: str, at_ms: int, zxid: int) -> None:
        places = self._places[name]
        value = json.loads(next(iter(places.values()), b"") or b"{}")
        self.history.jobs.setdefault(name, []).append(_standing(at_ms, zxid, tuple(places), value))

    def _change_worker(self, worker: str, data: bytes | None, at_ms: int) -> None:
        known = self.history.workers.get(worker)
        if data is None and known is not None:
            known.deleted_ms = at_ms
        elif data and known is None:
            self.history.workers[worker] = WorkerLife(at_ms, json.loads(data).get("pid", 0))


def _standing(at_ms: int, zxid: int, places: tuple[str, ...], value: dict[str, Any]) -> Standing:
    result = value.get("result")
    return Standing(
        at_ms,
        zxid,
        places,
        job_id=(value.get("parameters") or {}).get("id", 0),
        attempts=value.get("attempts", 0),
        state=value.get("state", ""),
        worker=value.get("worker"),
        not_before_ms=value.get("not_before_ms") or 0,
        held_by=value.get("batch") if value.get("chained") else None,
        errors=tuple(error["message"] for error in value.get("errors", ())),
        run=str(result.get("run", "")) if isinstance(result, dict) else "",
        is_stored=bool(value.get("stored")),
        values={name: value[name] for name in _VALUES if name in value},
    )


def _changes(body: TxnBody) -> Iterator[tuple[str, bytes | None]]:
    """Yield each path that a txn changes with its new data; None is deleted."""
    for part in changes_in(body):
        if isinstance(part, CreateTxn | SetDataTxn):
            yield part.path, part.data or b""
        elif isinstance(part, DeleteTxn):
            yield part.path, None
        elif isinstance(part, CloseSessionTxn):
            for path in part.paths or ():
                yield path, None
