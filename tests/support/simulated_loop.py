"""An event loop with a scheduler whose time passes only when work says so."""

from collections import deque
from collections.abc import Callable

from zoolet.server.common.scheduler import Scheduler, Share


class SimulatedLoop:
    """An event loop whose time passes only when work says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.ready: deque[Callable[[], None]] = deque()
        self.scheduler = Scheduler(self.ready.append, lambda: self.now_s)
        self.iterations_s: list[float] = []

    def iterate(self) -> None:
        """Run what is ready now, as one iteration."""
        began_s = self.now_s
        for _ in range(len(self.ready)):
            self.ready.popleft()()
        self.iterations_s.append(self.now_s - began_s)

    def work(self, share: Share, work_s: float) -> None:
        """Work at once."""
        began_s = self.now_s
        self.now_s += work_s
        self.scheduler.used(share, began_s)

    def until_idle(self) -> None:
        while self.ready:
            self.iterate()
