"""An executor as a process of its own: attempts are asked for on one pipe, and told on another.

A worker (`zoolet.jobs.processexecutor`) starts it, with the descriptors of four pipes. What holds:

- That an attempt is begun is written before its task is called, so that whoever finds the process
  dead knows which attempt killed it.
- Each attempt takes a byte from a pipe before, which says whether to make it. The worker may take
  the bytes back, so of each job one side or the other knows that it is the one to go on with it.
- It ends at once when its worker ends, however: then the pipe that nobody writes to is at its end.

Imports the job system's attempts and messages, and nothing that talks to a server.
"""

import json
import os
import select
import sys
import threading
from collections.abc import Sequence

from zoolet.jobs.attempts import SKIP, Attempter, Outcome, Setup, Work
from zoolet.jobs.cache import Group
from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.messages import MessageWriter

EXIT_WORKER_ENDED = 3


class _Speaker(MessageWriter):
    """Tells the worker of attempts."""

    name = ""

    def begun(self) -> None:
        self.write({"begun": self.name})

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        self.write({"started": self.name, "cache_hit": cache_hit, "dropped": dropped})

    def ended(self, outcome: Outcome) -> None:
        """Tell it with what is told next."""
        if outcome.result is not None:
            self.keep({"ended": self.name}, outcome.result.text)
        else:
            self.keep({"ended": self.name, "error": outcome.error, "details": outcome.details})


def _take_turn(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, 1)
        except BlockingIOError:
            # The worker has just taken turns back, and says in a moment what is with them.
            select.select([descriptor], [], [])


def _end_with_worker(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(EXIT_WORKER_ENDED)


def main(descriptors: Sequence[str]) -> None:
    """Make attempts until no more are asked for."""
    asked_fd, told_fd, turns_fd, lifeline = map(int, descriptors)
    threading.Thread(target=_end_with_worker, args=(lifeline,), daemon=True).start()
    speaker = _Speaker(told_fd)
    with os.fdopen(asked_fd, "rb") as asked:
        setup = Setup.decode(asked.readline())
        sys.path[:] = setup.import_paths
        try:
            attempter = Attempter(setup)
        except FunctionNotFoundError as error:
            speaker.write({"unfit": str(error)})
            return
        speaker.write({"ready": os.getpid()})
        for line in asked:
            for work in [Work(*work) for work in json.loads(line)]:
                if _take_turn(turns_fd) == SKIP:
                    continue
                speaker.name = work.name
                speaker.ended(attempter.attempt(work, speaker))
            speaker.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
