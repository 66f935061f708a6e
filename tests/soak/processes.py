"""Worker processes of a soak test, and all processes that they started, found by a mark.

Each worker process has a tag in its environment, which its executors, their tasks and the processes
of tasks inherit. Only processes with a tag are ever signalled.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoolet.testing.servers.guard import guarded_environment

ROOT = "/jobs/soak"
HERE = Path(__file__).parent
KEYS = "keys"
"""The name of the file of keys: all jobs are signed, and workers run no others."""
ALLOWED = ("soak_tasks:*", "no_such_module:*", "no *")
"""The tasks that workers allow: all that `tests.soak.plan` submits."""
EXECUTORS = 2
SESSION_TIMEOUT_MS = 2000
GRACE_MS = 3000
EXECUTOR_PROGRAM = "executor_program"
_TAG = "SOAK_WORKER="
_LOG_SHOWN_CHARACTERS = 1500
_STACKS_LIMIT_S = 3.0


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 10**6


@dataclass(slots=True)
class Window:
    """A time during which something was not as usual, in ms since the epoch; it may last still."""

    begin_ms: int
    end_ms: int | None = None


@dataclass(slots=True)
class Windows:
    """Times during which something was not as usual."""

    all: list[Window] = field(default_factory=list)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Note a window that lasts as long as this."""
        window = Window(now_ms())
        self.all.append(window)
        try:
            yield
        finally:
            window.end_ms = now_ms()

    def overlaps(self, begin_ms: int, end_ms: int) -> bool:
        """Say whether one of them overlaps a time."""
        return any(
            window.begin_ms <= end_ms and (window.end_ms is None or window.end_ms >= begin_ms)
            for window in list(self.all)
        )


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """A kind of worker: its name, the root of its queue, and its options.

    In an option, ``TAG`` stands for the worker's tag.
    """

    name: str
    root: str
    options: Sequence[str]


def plain_kind(home: Path) -> WorkerKind:
    """Return the kind of the workers of the queue without features."""
    options = ["--loader", "soak_tasks:load", "--executors", str(EXECUTORS)]
    options += ["--result-store-url", f"default=sqlite:///{home / 'results.db'}"]
    options += ["--signing-keys", str(home / KEYS)]
    options += [part for pattern in ALLOWED for part in ("--tasks", pattern)]
    return WorkerKind("", ROOT, options)


class WorkerProcess:
    """A worker, as its users run it.

    Attributes:
        tag: what the environment of all its processes has as ``SOAK_WORKER``.
        kind: the name of its kind; "" for those of the queue without features.
        expected_statuses: exit statuses that a fault of ours leads to; empty: it must not end.
        stop_asked_ms: when it was asked to stop.
        killed_ms: when it was killed.
        ended_ms: when its end was seen.
        frozen: while it, or an executor of it, was stopped by SIGSTOP.
    """

    def __init__(self, home: Path, hosts: str, tag: str, kind: WorkerKind) -> None:
        self.tag = tag
        self.kind = kind.name
        self._root = kind.root
        self._marks = Marks(home)
        self.log_path = home / "logs" / tag
        self.expected_statuses: tuple[int, ...] = ()
        self.stop_asked_ms: int | None = None
        self.killed_ms: int | None = None
        self.ended_ms: int | None = None
        self.frozen = Windows()
        self._home = home
        options = [option.replace("TAG", tag) for option in kind.options]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "zoolet", "worker",
                 "--server", hosts, "--queue", kind.root,
                 "--import-path", str(HERE), "--session-timeout-ms", str(SESSION_TIMEOUT_MS),
                 "--grace-ms", str(GRACE_MS), "--connect-timeout-ms", "60000", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env=guarded_environment()
                | {"SOAK_HOME": str(home), "SOAK_WORKER": tag, "HOME": str(home)},
            )  # fmt: skip
        self.pid = self._process.pid
        (home / "workers" / tag).write_text(str(self.pid))

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    @property
    def was_killed_by_task(self) -> bool:
        """Whether a task of its own killed it."""
        return (self._home / "killed" / self.tag).exists()

    @property
    def has_started(self) -> bool:
        """Whether it has said that it takes jobs; before, a signal may end it as any process."""
        log = self.log_path.read_text(errors="replace")
        return f": queue {self._root} on" in log or f": queues {self._root} (weight" in log

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.status is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it by kill -9."""
        self.expected_statuses += (-signal.SIGKILL,)
        self.killed_ms = self.killed_ms or now_ms()
        self.send(signal.SIGKILL)

    def stacks(self) -> str:
        """End it by SIGABRT, and return the stacks of its threads, which it writes to its log."""
        self.expected_statuses += (-signal.SIGABRT,)
        size = self.log_path.stat().st_size
        self.send(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STACKS_LIMIT_S)
        return self.log_path.read_bytes()[size:].decode(errors="replace")

    def others(self) -> list["Marked"]:
        """Return its executors, their tasks, and what they started."""
        return [found for found in self._marks.find(self.tag) if found.pid != self.pid]

    def executors(self) -> list["Marked"]:
        """Return the processes in which its tasks run."""
        return [found for found in self.others() if EXECUTOR_PROGRAM in found.command]

    def log_end(self) -> str:
        """Return the end of its log."""
        return self.log_path.read_text(errors="replace")[-_LOG_SHOWN_CHARACTERS:]


@dataclass(frozen=True, slots=True)
class Marked:
    """A process with a tag: a worker, one that it started, or one that such a process started."""

    pid: int
    tag: str
    command: str

    def send(self, number: int) -> None:
        """Send it a signal, if it is still the process that it was."""
        with contextlib.suppress(OSError):
            if f"{_TAG}{self.tag}" in _environment(self.pid):
                os.kill(self.pid, number)


class Marks:
    """Finds the processes with a tag of one soak test."""

    def __init__(self, home: Path) -> None:
        self._home = f"SOAK_HOME={home}"

    def find(self, tag: str | None = None) -> list[Marked]:
        """Return the processes with this tag, or with any; zombies are none."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            # It may be another user's, or gone by now.
            with contextlib.suppress(OSError):
                names = _environment(int(entry.name))
                tags = [name.removeprefix(_TAG) for name in names if name.startswith(_TAG)]
                if self._home in names and tags and tag in {None, tags[0]}:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(Marked(int(entry.name), tags[0], command.decode(errors="replace")))
        return found


def _environment(pid: int) -> list[str]:
    names = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    return [name.decode(errors="replace") for name in names]
