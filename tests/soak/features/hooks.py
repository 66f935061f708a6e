"""Hooks of workers, also broken ones, and spans.

Invariants: a hook is told only of attempts that were made, and of each end one time, and of the
states that the queue has.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.soak.features.base import Feature, Found


class HooksAndSpans(Feature):
    """See the docstring of the module; the other features make the attempts."""

    pause_s = (5.0, 10.0)

    def options(self, kind: str) -> Sequence[str]:
        del kind
        names = ("Breaking", "Noting", "spans")
        return [word for name in names for word in ("--hooks", f"feature_tasks:{name}")]

    def problems(self, found: Found) -> Iterator[str]:
        jobs = found.jobs
        lines = self.stage.lines("hooks")
        ends = [line for line in lines if line["what"] == "ended"]
        self.count("calls for starts", len(lines) - len(ends))
        self.count("calls for ends", len(ends))
        for line in lines:
            if line["job"] not in jobs:
                yield f"a hook was called for {line['job']}, which never was in the queue"
        told = Counter((line["job"], line["number"], line["ended_ms"]) for line in ends)
        yield from (f"a hook was called {n} times for {one}" for one, n in told.items() if n > 1)
        for line in ends:
            states = {one.state for one in jobs.get(line["job"], ())}
            if line["state"] not in states:
                yield f"a hook was told that {line['job']} is {line['state']}, not of {states}"
        spans = self.stage.lines("spans")
        self.count("spans", len(spans))
        yield from (f"a span has {span}" for span in spans if span["job"] not in jobs)
        if ends and not spans:
            yield "there are no spans"
