"""Runs the features of the soak test: one thread for the users of each feature.

`tests.soak.features.base` describes a feature.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial

from tests.soak.features import all_features
from tests.soak.features.base import (
    ASYNC,
    BUSY,
    ROOT,
    Feature,
    Found,
    SkippedError,
    Stage,
    queue_settings,
)
from tests.soak.history import History
from tests.soak.processes import HERE, WorkerKind, WorkerProcess
from tests.soak.world import World
from zoolet.jobs import Dispatcher

KINDS = (BUSY, BUSY, ASYNC)
"""The workers of the features' queue."""
_MOVES = {
    "": {"unowned", "deferred"},
    "deferred": {"deferred", "unowned", "done"},
    "unowned": {"unowned", "owned", "deferred", "done"},
    "owned": {"owned", "unowned", "deferred", "done"},
    "done": {"unowned", "deferred", ""},
}


class FeatureUsers:
    """The users of all features, and the workers of their queue."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        (world.home / "features").mkdir()
        self.stage = Stage(world.home, "", seed, self._workers)
        self.features = all_features(self.stage)
        self._threads = [
            threading.Thread(target=self._use, args=(feature,), daemon=True)
            for feature in self.features
        ]

    def _workers(self) -> list[WorkerProcess]:
        return [one for one in self._world.running() if one.kind != ""]

    @property
    def roots(self) -> list[str]:
        """The roots of the queues of which the features need the history."""
        return [ROOT, *(root for feature in self.features for root in feature.roots)]

    def kinds(self) -> list[WorkerKind]:
        """Return the workers of the features' queue."""
        return [
            WorkerKind(kind, ROOT, [word for one in self.features for word in one.options(kind)])
            for kind in KINDS
        ]

    def prepare(self) -> None:
        """Create the queue, before its workers start."""
        # The users of maps import the function that merges results, as the workers do.
        if str(HERE) not in sys.path:
            sys.path.append(str(HERE))
        self.stage.hosts = self._world.server.hosts
        settings = queue_settings(self.features)
        with Dispatcher(self.stage.hosts, ROOT, create=True) as dispatcher:
            dispatcher.queue.configure(**settings)
            for feature in self.features:
                feature.prepare(dispatcher)
        self.stage.hosts = self._world.user_proxy.hosts

    def start(self) -> None:
        """Begin to use the features."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no more rounds."""
        self.stage.stopped_at = time.monotonic()
        self.stage.stopping.set()

    def settle(self) -> None:
        """Return when everything that was begun has ended, and all jobs are removed."""
        for thread in self._threads:
            thread.join()
        self.stage.stopped_at = time.monotonic()
        with Dispatcher(self._world.server.hosts, ROOT, result_stores=self.stage.stores) as found:
            for feature in self.features:
                self._guarded(feature, partial(feature.settle, found))

    def problems(self, histories: dict[str, History]) -> Iterator[tuple[str, list[str]]]:
        """Yield for each feature what was wrong."""
        found = Found(histories)
        yield "features: moves", list(wrong_moves(found.history))
        for feature in self.features:
            self._guarded(feature, partial(_check, feature, found))
            # A short run on a busy machine may have only a round that a fault has hidden.
            if not any(key.startswith(f"{feature.name}: rounds") for key in self.stage.counts):
                feature.problem("no round was completed")
            yield (
                f"features: {feature.name}",
                [text for name, text in self.stage.found if name == feature.name],
            )

    def _use(self, feature: Feature) -> None:
        def use() -> None:
            with Dispatcher(
                self.stage.hosts,
                ROOT,
                result_stores=self.stage.stores,
                connect_timeout_ms=60_000,
            ) as dispatcher:
                while not self.stage.stopping.wait(feature.chance.uniform(*feature.pause_s)):
                    self._round(feature, dispatcher)

        self._guarded(feature, use)

    def _round(self, feature: Feature, dispatcher: Dispatcher) -> None:
        try:
            feature.use(dispatcher)
        except SkippedError as error:
            feature.count(f"rounds that say nothing: {error}")
        else:
            feature.count("rounds")

    def _guarded(self, feature: Feature, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is a fault
            where = "".join(traceback.format_tb(sys.exc_info()[2])[-3:])
            feature.problem(f"{error!r}\n{where}")


def _check(feature: Feature, found: Found) -> None:
    for problem in feature.problems(found):
        feature.problem(problem)


def wrong_moves(history: History) -> Iterator[str]:
    """Yield the moves that no job makes, and the jobs that were not removed."""
    for name, standings in history.jobs.items():
        before = ""
        for standing in standings:
            if len(standing.places) > 1 or standing.place not in _MOVES[before]:
                yield f"{name} went from {before!r} to {standing.places}"
                break
            before = standing.place
        else:
            if before:
                yield f"{name} is left in {before} as {standings[-1].state}"
        ended = [one for one in standings if one.state == "SUCCESSFUL"]
        if len(ended) > 1:
            yield f"{name} was SUCCESSFUL {len(ended)} times"
