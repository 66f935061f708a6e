"""Removal of containers whose last child was deleted, and of znodes whose TTL has expired."""

import logging
from collections.abc import Iterator
from typing import Final, final

from zoolet.model.codes import OpCode
from zoolet.model.requests import DeleteContainer
from zoolet.server.common.clock import Clock
from zoolet.server.common.scheduler import STEP_COST_US
from zoolet.server.connections.connection import Requests
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.local_sessions import LOGGED_EACH
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.lifetimes import is_due_for_removal
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.tables import PathTable

log = logging.getLogger(__name__)

_LOOKS_AT_ONCE: Final = 500


@final
class Removal:
    """Removes the znodes that are due, at most ``znode.container.maxPerMinute`` in a minute.

    Attributes:
        is_under_way: whether the steps of a removal are in progress.
    """

    def __init__(
        self,
        config: Config,
        requests: Requests,
        machine: StateMachine,
        changes: Changes,
        clock: Clock,
    ) -> None:
        self.is_under_way = False
        self._config = config
        self._requests = requests
        self._machine = machine
        self._changes = changes
        self._clock = clock
        self._left: Iterator[str] = iter(())

    def look(self) -> None:
        """Begin to remove, in several steps, the znodes that are due."""
        if not self._requests.is_held and not self.is_under_way and self._machine.tree.perishable:
            self.is_under_way = True
            self._requests.scheduler.run("removing containers and TTL znodes", self._steps())

    def remove_now(self) -> None:
        """Remove the znodes that are due, before this call returns."""
        if self._requests.is_held:
            return
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[int]:
        config = self._config
        looks_per_minute = max(1, 60_000 // config.container_check_interval_ms)
        at_most = max(1, config.max_removed_per_minute // looks_per_minute)
        tree = self._machine.tree
        count = 0
        for number, path in enumerate(self._next()):
            if number % _LOOKS_AT_ONCE == 0:
                yield STEP_COST_US
            now_ms = self._clock.wall_ms()
            if not is_due_for_removal(tree, path, now_ms, config.container_unused_ms):
                continue
            count += 1
            if count <= LOGGED_EACH:
                log.info("removing %s: it is an empty container, or its TTL has expired", path)
            self._changes.make_own(0, OpCode.DELETE_CONTAINER, DeleteContainer(path))
            if count >= at_most:
                break
            yield STEP_COST_US
        if count > LOGGED_EACH:
            log.info("removed %d more empty containers and TTL znodes", count - LOGGED_EACH)
        self.is_under_way = False

    def _next(self) -> Iterator[str]:
        """Yield the containers and TTL znodes that the last removal did not reach, then all."""
        # "yield from" would also close self._left when a removal stops early and drops this
        # generator, so that the next removal could not continue.
        for path in self._left:
            yield path
        self._left = _all_paths(self._machine.tree.perishable)
        for path in self._left:
            yield path


def _all_paths(table: PathTable[int]) -> Iterator[str]:
    """Yield the paths of a table that changes meanwhile, without a copy of all of them."""
    for part in table.parts:
        yield from tuple(part)
