"""Maps over a dataset whose file changes, with reductions and partial results.

Invariants: a reduction is that of the rows that the file had at the submission; partial results
cover more and more of them, and never more than all.
"""

import json
from pathlib import Path

from tests.soak.features.base import AGAIN_S, Feature, SkippedError
from tests.soak.invariants import DISTURBED
from zoolet.jobs import BatchExistsError, Dispatcher, JobFailedError, JobNotFoundError, MapResult

DATASET = "rows"


class MapsOfDatasets(Feature):
    """See the docstring of the module."""

    pause_s = (0.5, 2.0)

    def prepare(self, dispatcher: Dispatcher) -> None:
        self._path.write_text("")
        self._rows: list[int] = []
        self._change()
        dispatcher.datasets.create(DATASET, "jsonl", self._path, {"bytes_per_group": 100})

    @property
    def _path(self) -> Path:
        return self.stage.home / "features" / "rows.jsonl"

    def _change(self) -> None:
        self._rows = [self.chance.randrange(1000) for _ in range(self.chance.randint(5, 80))]
        beside = self._path.with_suffix(".new")
        beside.write_text("".join(json.dumps({"n": n}) + "\n" for n in self._rows))
        beside.replace(self._path)

    def use(self, dispatcher: Dispatcher) -> None:
        if self.chance.random() < 0.6:
            self._change()
        name, is_whole = self.new_name(), self.chance.random() < 0.6
        self.count("maps")
        try:
            result = self.persist(
                lambda: dispatcher.map(
                    "feature_tasks:count_rows",
                    DATASET,
                    reduce="feature_tasks:add",
                    name=name,
                    max_attempts=10,
                )
            )
        except BatchExistsError:
            raise SkippedError("the outcome of a map is not known") from None
        try:
            value = self._value(result) if is_whole else self._partials(result)
        except JobFailedError as error:
            if not DISTURBED.search(str(error)):
                self.problem(f"{name}: {error}")
            self.count("maps FAILED because of faults")
            return
        except JobNotFoundError:
            raise SkippedError("a result was removed before it was read") from None
        if value != [len(self._rows), sum(self._rows)]:
            self.problem(f"{name} has {value} of {len(self._rows)} rows: {sum(self._rows)}")

    def _value(self, result: MapResult) -> list[int]:
        found: list[int] = self.persist(lambda: result.value(timeout_s=AGAIN_S))
        return found

    def _partials(self, result: MapResult) -> list[int]:
        groups, value = -1, [0, 0]
        while result.batch.outstanding or groups < 0:
            self.check_time()

            def one_more() -> None:
                nonlocal groups, value
                for partial in result.partials(timeout_s=AGAIN_S):
                    value = partial.value or [0, 0]
                    if not groups <= partial.share.groups <= partial.share.all_groups:
                        self.problem(f"{result.batch.name} covers {partial.share} after {groups}")
                    groups = partial.share.groups
                    self.count("partial results")

            self.persist(one_more)
        return value
