"""The datasets that a queue describes: create, read, refresh, list and remove descriptions.

    datasets/<name>                       the description, with the revision of the groups
    datasets/<name>/<revision>-<n>        a part of the list of groups

A new list of groups is written under a new revision. Then one multi replaces the description, if it
has the version that was read, and if all parts of the list exist. After that, the parts of other
revisions are deleted. So a reader sees the old list or the new list, also if the program that
refreshes the dataset dies, or if two programs refresh it at the same time.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.execution`, `zoolet.jobs.loaders`,
`zoolet.jobs.queue`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoolet.jobs.errors import (
    DatasetError,
    DatasetExistsError,
    InvalidJobError,
    UnknownDatasetError,
    UnreadableJobError,
)
from zoolet.jobs.execution.user_loaders import UserLoaders
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.loaders.registry import (
    LOADERS,
    checked_options,
    import_loader,
    is_of_user,
    loader_info,
)
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.datasets import (
    DatasetRecord,
    check_dataset_name,
    decode_groups,
    encode_groups,
)
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.job_znodes import Znode
from zoolet.jobs.znodes.layout import DATASETS
from zoolet.jobs.znodes.operations import Delete, Exists, Operation, RefusedError, SetData

_TRIES = 20
"""The tries of a read or a change, while other programs refresh the same dataset."""
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Dataset:
    """A described dataset.

    Attributes:
        record: the description.
        groups: the groups, in their order.
    """

    record: DatasetRecord
    groups: tuple[DatasetGroup, ...]

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return self.record.name


class Datasets:
    """The datasets that a queue describes. ``timeout_s`` is the limit of each request.

    Args:
        queue: the queue.
        loaders: patterns of the loaders ``module:function`` that this process may import because a
            description names them.
    """

    def __init__(self, queue: JobQueue, loaders: Sequence[str] = ()) -> None:
        self._queue = queue
        self._loaders = UserLoaders(AllowLists((), (*LOADERS, *loaders)))
        self._znodes = queue.layout.znodes

    def create(
        self,
        name: str,
        loader: str,
        location: str | os.PathLike[str],
        options: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Dataset:
        """Describe a dataset: list its groups now, and store the description in the queue.

        Args:
            name: the name of the dataset, which tasks and jobs use.
            loader: the name of a loader: parquet, csv, jsonl, files, root or sql; or
                ``module:function``, which returns a `Loader`. This call imports it.
            location: a file, a directory or a glob pattern, which becomes an absolute path; for the
                loader sql, a URL for SQLAlchemy. This process and all workers must reach it. A
                user's loader gets the text as it is.
            options: the options of the loader by name.
            timeout_s: the time limit of each request to the server, in seconds.

        Raises:
            InvalidJobError: the name, the loader or an option is invalid.
            DatasetExistsError: the queue describes a dataset of this name already.
            DatasetError: the location cannot be read.
        """
        check_dataset_name(name)
        where = os.fspath(location)
        if loader_info(loader).has_files:
            where = os.path.abspath(where)  # noqa: PTH100 -- resolve() would follow links
        checked = checked_options(loader, options or {})
        groups = _list_groups(UserLoaders(AllowLists()), loader, where, checked, ())
        with self._znodes.within(timeout_s, "describe a dataset", each_request=True):
            now_ms = self._queue.clock_ms()
            path = self._path(name)
            if self._znodes.exists(path):
                raise _exists(name)
            self._queue.layout.check()
            self._znodes.ensure(self._znodes.path(DATASETS))
            record = _record(name, loader, where, checked, groups, now_ms, now_ms)
            # The parent of the list must exist first. Until the list is complete, the parent
            # describes a list that does not exist, and readers get an error.
            first = replace(record, revision=uuid.uuid4().hex[:16], chunks=1, groups=1)
            if not self._znodes.create(path, first.encode()):
                raise _exists(name)
            if not self._write(record, _chunks(groups), 0):
                return self._read(name)
        return Dataset(record, tuple(groups))

    def describe(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Dataset:
        """Return a described dataset with its groups, as it was last refreshed.

        Raises:
            UnknownDatasetError: the queue describes no dataset of this name.
            UnreadableJobError: another program wrote an invalid description.
        """
        with self._znodes.within(timeout_s, "read a dataset", each_request=True):
            return self._read(name)

    def refresh(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Dataset:
        """List the groups of a dataset again, and replace the list in the queue.

        A group whose content has changed gets a new version: jobs that are submitted later do not
        use results and loaded data of the old content. Only changed files are read. If no group has
        changed, nothing is written.

        Raises:
            UnknownDatasetError: the queue describes no dataset of this name.
            DatasetError: the location cannot be read, or the loader of the description is not
                allowed (`Dispatcher`); the description stays as it was.
        """
        with self._znodes.within(timeout_s, "refresh a dataset", each_request=True):
            for tries in range(_TRIES):
                if tries:
                    self._znodes.pause(tries - 1, _PAUSE_S)
                before, version = self._read_record(name)
                known = self._known(name)
                groups = self._list(before, known)
                if known and tuple(groups) == known:
                    return Dataset(before, known)
                record = _record(
                    name,
                    before.loader,
                    before.location,
                    before.options,
                    groups,
                    before.created_ms,
                    self._queue.clock_ms(),
                )
                if self._write(record, _chunks(groups), version):
                    return Dataset(record, tuple(groups))
        raise DatasetError(
            f"dataset {name} was not refreshed: other programs refresh it all the time. Try again"
        )

    def for_map(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Dataset:
        """Return a described dataset whose loader is allowed in this process; see `describe`.

        Raises:
            DatasetError: the loader is not allowed (`Dispatcher`).
        """
        found = self.describe(name, timeout_s=timeout_s)
        self._check(found.record)
        return found

    def _check(self, record: DatasetRecord) -> None:
        """Raise DatasetError if the loader of a description is not allowed.

        Anyone who can write to the queue can change the description.
        """
        try:
            self._loaders.check(record.loader)
        except DatasetError:
            raise DatasetError(
                f"the dataset {record.name} names the loader {record.loader!r:.100}, which this"
                " program may not import: allow it with Dispatcher(loaders=[...]), or with"
                " --loaders"
            ) from None

    def _list(self, record: DatasetRecord, known: Sequence[DatasetGroup]) -> list[DatasetGroup]:
        self._check(record)
        return _list_groups(self._loaders, record.loader, record.location, record.options, known)

    def remove(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> None:
        """Remove the description of a dataset. Jobs that were submitted still run.

        Raises:
            UnknownDatasetError: the queue describes no dataset of this name.
        """
        path = self._path(name)
        with self._znodes.within(timeout_s, "remove a dataset", each_request=True):
            for tries in range(_TRIES):
                if tries:
                    self._znodes.pause(tries - 1, _PAUSE_S)
                try:
                    names = self._znodes.children(path)
                except MissingError:
                    raise _unknown(name) from None
                operations: list[Operation] = [Delete(f"{path}/{child}", -1) for child in names]
                try:
                    self._znodes.multi(
                        [*operations, Delete(path, -1)],
                        landed=lambda: not self._znodes.exists(path),
                    )
                except RefusedError:
                    continue
                return
        raise DatasetError(
            f"dataset {name} was not removed: other programs refresh it all the time. Try again"
        )

    def names(self, *, timeout_s: float | None = TIMEOUT_S) -> list[str]:
        """Return the names of the datasets that the queue describes, sorted."""
        with self._znodes.within(timeout_s, "list the datasets"):
            try:
                return sorted(self._znodes.children(self._znodes.path(DATASETS)))
            except MissingError:
                return []

    def records(self, *, timeout_s: float | None = TIMEOUT_S) -> list[DatasetRecord]:
        """Return the descriptions of all datasets, without their groups, sorted by name.

        Datasets with an invalid description are left out; `describe` says what is invalid.
        """
        names = self.names(timeout_s=timeout_s)
        with self._znodes.within(timeout_s, "read the datasets", each_request=True):
            found = self._znodes.get_all([self._path(name) for name in names])
        records = []
        for name, znode in zip(names, found, strict=True):
            if znode is not None:
                try:
                    records.append(DatasetRecord.decode(name, znode.data))
                except UnreadableJobError:
                    continue
        return records

    # --- Znodes

    def _path(self, name: str) -> str:
        check_dataset_name(name)
        return self._znodes.path(DATASETS, name)

    def _read_record(self, name: str) -> tuple[DatasetRecord, int]:
        found = self._znodes.get(self._path(name))
        if found is None:
            raise _unknown(name)
        return DatasetRecord.decode(name, found.data), found.version

    def _read(self, name: str) -> Dataset:
        revision = ""
        while True:
            record, _ = self._read_record(name)
            # The old list is deleted after the description is replaced. So if a part is missing and
            # the description is the same afterwards, the list never was complete.
            if record.revision == revision or record.chunks > record.groups:
                raise _incomplete(name)
            revision = record.revision
            parts = self._znodes.get_all(
                [self._part(record, number) for number in range(record.chunks)]
            )
            if all(part is not None for part in parts):
                return Dataset(record, _groups_in(record, parts))

    def _known(self, name: str) -> tuple[DatasetGroup, ...]:
        """Return the groups of the current list; () if the list is incomplete."""
        try:
            return self._read(name).groups
        except UnreadableJobError:
            return ()

    def _part(self, record: DatasetRecord, number: int) -> str:
        return f"{self._path(record.name)}/{record.revision}-{number}"

    def _write(self, record: DatasetRecord, chunks: Sequence[bytes], version: int) -> bool:
        """Replace a description and its groups; False if another program changed it meanwhile."""
        path = self._path(record.name)
        parts = [self._part(record, number) for number in range(len(chunks))]
        value = record.encode()
        try:
            for part, data in zip(parts, chunks, strict=True):
                self._znodes.create(part, data)
            self._znodes.multi(
                [SetData(path, value, version), *map(Exists, parts)],
                landed=lambda: self._has(path, value),
            )
        except MissingError:
            raise _unknown(record.name) from None
        except RefusedError:
            for part in parts:
                self._znodes.delete(part)
            return False
        self._delete_others(record)
        return True

    def _has(self, path: str, value: bytes) -> bool:
        found = self._znodes.get(path)
        return found is not None and found.data == value

    def _delete_others(self, record: DatasetRecord) -> None:
        path = self._path(record.name)
        try:
            names = self._znodes.children(path)
        except MissingError:
            return
        for name in names:
            if not name.startswith(f"{record.revision}-"):
                self._znodes.delete(f"{path}/{name}")


def _list_groups(
    loaders: UserLoaders,
    loader: str,
    location: str,
    options: Mapping[str, Any],
    known: Sequence[DatasetGroup],
) -> list[DatasetGroup]:
    groups = import_loader(loader, loaders.find).list_groups(location, options, known)
    if is_of_user(loader):
        groups = _checked_groups(loader, groups)
    ids = [group.groupid for group in groups]
    if len(set(ids)) != len(ids):
        twice = next(groupid for groupid in ids if ids.count(groupid) > 1)
        raise DatasetError(f"two groups of {location} have the id {twice}: rename one of the files")
    return groups


def _checked_groups(loader: str, groups: Any) -> list[DatasetGroup]:
    """Return the groups that a user's loader has listed.

    Raises:
        DatasetError: they are not groups.
    """
    try:
        found = [DatasetGroup(*group) for group in groups]
        for chunk in _chunks(found):
            decode_groups(loader, chunk)
    except (TypeError, ValueError, InvalidJobError, UnreadableJobError) as error:
        raise DatasetError(
            f"list_groups of the loader {loader} did not return a list of DatasetGroup: {error}"
        ) from error
    return found


def _chunks(groups: Sequence[DatasetGroup]) -> list[bytes]:
    return encode_groups([(*group[:4], dict(group.position)) for group in groups])


def _record(
    name: str,
    loader: str,
    location: str,
    options: Mapping[str, Any],
    groups: Sequence[DatasetGroup],
    created_ms: int,
    refreshed_ms: int,
) -> DatasetRecord:
    return DatasetRecord(
        name,
        loader,
        location,
        dict(options),
        uuid.uuid4().hex[:16],
        len(_chunks(groups)),
        len(groups),
        total([group.rows for group in groups]),
        total([group.size_bytes for group in groups]),
        created_ms,
        refreshed_ms,
    )


def total(counts: Sequence[int | None]) -> int | None:
    """Return the sum of counts; None if one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _groups_in(record: DatasetRecord, parts: Sequence[Znode | None]) -> tuple[DatasetGroup, ...]:
    groups = [
        DatasetGroup(*values)
        for part in parts
        if part is not None
        for values in decode_groups(record.name, part.data)
    ]
    if len(groups) != record.groups or len({group.groupid for group in groups}) != len(groups):
        raise _incomplete(record.name)
    return tuple(groups)


def _incomplete(name: str) -> UnreadableJobError:
    return UnreadableJobError(
        f"the list of groups of dataset {name} is incomplete: the program that describes it has not"
        " finished yet, or died. Refresh the dataset, or remove it"
    )


def _unknown(name: str) -> UnknownDatasetError:
    return UnknownDatasetError(
        f"the queue has no dataset {name}: describe it with zoolet jobs dataset add"
    )


def _exists(name: str) -> DatasetExistsError:
    return DatasetExistsError(
        f"the queue has a dataset {name} already: refresh it, or remove it and describe it again"
    )
