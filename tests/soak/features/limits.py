"""Limits of concurrent attempts, of starts per second, and per key.

Invariants, at each txn of the log: no more jobs of a limit are owned than it permits; in each ten
seconds no more of them are taken.
"""

from collections import Counter, deque
from collections.abc import Iterator

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import Feature, Found
from zoolet.jobs import Dispatcher, Limit

TWO, RATE, EACH = "two", "rate", "each"
PER_SECOND, BURST = 8.0, 2
WINDOW_MS = 10_000
KEYS = 3


class Limits(Feature):
    """See the docstring of the module."""

    def prepare(self, dispatcher: Dispatcher) -> None:
        limits = dispatcher.queue.limits
        limits.add(Limit(TWO, concurrent=2, key=TWO))
        limits.add(Limit(RATE, per_second=PER_SECOND, burst=BURST, key=RATE))
        limits.add(Limit(EACH, concurrent=1, per_key=True, task="feature_tasks:limited"))

    def use(self, dispatcher: Dispatcher) -> None:
        kinds = (TWO, RATE, *(f"k{n}" for n in range(KEYS)))
        chosen = [self.chance.choice(kinds) for _ in range(self.chance.randint(1, 8))]
        requests = [
            # A task without the limit per key, for the keys of the other limits.
            tasks.plain.with_options(limit_key=kind).request(number)
            if kind in {TWO, RATE}
            else tasks.limited.with_options(limit_key=kind).request(kind, 0.02)
            for number, kind in enumerate(chosen)
        ]
        batch = self.submit(dispatcher, requests)
        for number, (job, kind) in enumerate(zip(self.results(batch), chosen, strict=True)):
            self.expect(job, number if kind in {TWO, RATE} else kind)
            self.count(f"limit {kind}")

    def problems(self, found: Found) -> Iterator[str]:
        changes = sorted(
            (standing.zxid, standing.at_ms, name, standing.place, standings[0].values["limit_key"])
            for name, standings in found.history.jobs.items()
            for standing in standings
            if standings[0].values.get("limit_key")
        )
        owned: dict[str, str] = {}
        running: Counter[str] = Counter()
        started: deque[int] = deque()
        most = 1.05 * PER_SECOND * WINDOW_MS / 1000 + BURST
        # All changes of one txn happen at once.
        for position, (zxid, at_ms, name, place, key) in enumerate(changes):
            if place == "owned" and name not in owned:
                owned[name] = key
                running[key] += 1
                if key == RATE:
                    started.append(at_ms)
                    while started[0] <= at_ms - WINDOW_MS:
                        started.popleft()
                    if len(started) > most:
                        yield f"{len(started)} jobs of {RATE} were taken in 10 s before {at_ms}"
            elif place != "owned" and name in owned:
                running[owned.pop(name)] -= 1
            is_last = position + 1 == len(changes) or changes[position + 1][0] != zxid
            for one in running if is_last else ():
                limit = {TWO: 2, RATE: 10**9}.get(one, 1)
                if running[one] > limit:
                    yield f"{running[one]} jobs of {one} are owned at zxid {zxid:#x}"
