"""The requests of a map, its partial results, and the share of the data that they cover."""

import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from zoolet.jobs.datasets.datasets import Dataset
from zoolet.jobs.dispatcher.batch import Batch, JobFailedError
from zoolet.jobs.dispatcher.maps import MapResult, Share, map_requests
from zoolet.jobs.errors import InvalidJobError, JobTimeoutError, ResultStoreError
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.records.datasets import DatasetRecord
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.submit.submission import Origin, Submission


def dataset(count: int, loader: str = "parquet", version: str = "v") -> Dataset:
    groups = tuple(
        DatasetGroup(f"f:{n}", version, n + 1, 10, {"path": "/f", "stat": "1", "row_group": n})
        for n in range(count)
    )
    options: dict[str, Any] = {"pattern": "*", "version": "stat"}
    record = DatasetRecord("d", loader, "/f", options, "0" * 16, 1, count, None, None, 1, 1)
    return Dataset(record, groups)


def requests(of: Dataset, columns: Sequence[str] | None = ("x",)) -> list[JobRequest]:
    return map_requests("tasks:count", of, {"bins": 3}, columns, priority=5)


def test_there_is_one_request_for_each_group() -> None:
    found = requests(dataset(3))
    assert [request.groupid.partition("@")[0] for request in found] == ["f:0", "f:1", "f:2"]  # type: ignore[union-attr]
    assert {request.dataset for request in found} == {"d"}
    assert {request.priority for request in found} == {5}
    assert found[1].source is not None
    assert found[1].source["position"]["row_group"] == 1


def test_the_version_and_the_columns_are_part_of_the_key_and_of_the_group() -> None:
    [old] = requests(dataset(1))
    assert requests(dataset(1)) == [old]
    assert requests(dataset(1), ["x", "x"]) == [old]
    for [other] in (
        requests(dataset(1, version="w")),
        requests(dataset(1), ["x", "y"]),
        requests(dataset(1), None),
    ):
        assert other.key != old.key
        assert other.groupid != old.groupid


def test_columns_that_a_loader_does_not_have_are_refused() -> None:
    with pytest.raises(InvalidJobError, match="groups of the loader files have no columns"):
        requests(dataset(1, "files"))
    with pytest.raises(InvalidJobError, match="pass a list of names"):
        requests(dataset(1), "x")


class EndedJobs:
    """A batch whose jobs end in a random order; a call may fail before or between them."""

    def __init__(self, chance: random.Random, count: int, failed: int | None = None) -> None:
        self._chance = chance
        self.names = [f"entry-000-d:f-{n:010d}" for n in range(count)]
        self.submissions = [Submission(name, Origin.NEW) for name in self.names]
        self._left = chance.sample(range(count), count)
        self._failed = failed

    @property
    def outstanding(self) -> int:
        return len(self._left)

    def next_result(self, timeout_s: float | None, *, server_timeout_s: float | None) -> Job | None:
        del server_timeout_s
        if self._chance.random() < 0.2:
            raise ResultStoreError("the store does not reply")
        if timeout_s is not None and self._chance.random() < 0.3:
            return None
        number = self._left.pop()
        request = JobRequest("tasks:count", "d", "f", {})
        job = Job.draft(request, "s", 0)._replace(name=self.names[number])
        if number == self._failed:
            return job._replace(state=JobState.FAILED)
        return job._replace(state=JobState.SUCCESSFUL, result=[number])


def union(results: list[list[int]]) -> list[int]:
    return sorted(number for result in results for number in result)


def mapped(jobs: EndedJobs, reduce: Callable[[list[Any]], Any] | None = union) -> MapResult:
    return MapResult(cast("Batch", jobs), dataset(len(jobs.names)), reduce)


@pytest.mark.parametrize("seed", range(100))
def test_each_result_is_counted_once_also_after_errors(seed: int) -> None:
    chance = random.Random(seed)
    jobs = EndedJobs(chance, chance.randint(1, 20))
    result = mapped(jobs)
    seen = 0
    last = None
    for _ in range(1000):
        try:
            for partial in result.partials(every_s=0.0, timeout_s=60.0):
                assert len(set(partial.value)) == len(partial.value) == partial.share.groups
                assert partial.share.rows == sum(number + 1 for number in partial.value)
                assert partial.share.size_bytes == 10 * len(partial.value)
                assert partial.share.groups >= seen
                seen, last = partial.share.groups, partial
                if chance.random() < 0.2:
                    break
            else:
                break
        except ResultStoreError:
            continue
    assert last is not None
    assert last.is_complete
    assert last.value == list(range(len(jobs.names)))
    assert last.share.fraction == 1.0


def test_a_failed_job_is_an_error_each_time() -> None:
    result = mapped(EndedJobs(random.Random(4), 1, failed=0))
    errors = []
    for _ in range(20):
        try:
            list(result.partials())
        except (JobFailedError, ResultStoreError) as error:
            errors.append(type(error))
    assert len(errors) == 20
    assert errors[-1] is JobFailedError


def test_a_time_limit_is_an_error_that_can_be_repeated() -> None:
    class NeverEnds(EndedJobs):
        def next_result(
            self, timeout_s: float | None, *, server_timeout_s: float | None
        ) -> Job | None:
            assert timeout_s is not None
            del server_timeout_s
            return None

    result = mapped(NeverEnds(random.Random(1), 2))
    with pytest.raises(JobTimeoutError, match="2 of 2 jobs did not finish within 0 s"):
        list(result.partials(timeout_s=0))


def test_without_a_merging_function_there_are_no_partial_results() -> None:
    with pytest.raises(InvalidJobError, match="has no reduce="):
        next(mapped(EndedJobs(random.Random(1), 1), None).partials())


def test_the_share_is_that_of_the_rows_or_else_of_the_bytes_or_groups() -> None:
    assert Share(1, 2, 30, 40, 1, 2).fraction == 0.75
    assert Share(1, 2, None, None, 1, 5).fraction == 0.2
    assert Share(1, 2, None, None, None, None).fraction == 0.5
    assert Share(0, 0, 0, 0, None, None).fraction == 1.0
