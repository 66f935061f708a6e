"""``zoolet mirror`` as a process, and the comparison of the subtrees that it copies."""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from click.testing import CliRunner

from tests.support.waiting import WAIT_S, wait_until
from zoolet.archive.commands.mirror import mirror
from zoolet.archive.live.counters import counter_of
from zoolet.client import Client

Trees = dict[str, tuple[bytes | None, tuple[tuple[int, str, str], ...]]]
"""The data and the ACL of each znode, by its path below the root."""


class MirrorProcess:
    """A process of ``zoolet mirror``.

    Attributes:
        output: the lines that it has printed until now.
    """

    def __init__(
        self,
        source: str,
        target: str,
        state: Path,
        *options: str,
    ) -> None:
        """Start the process."""
        arguments = ["mirror", "--from", source, "--to", target, "--state", str(state), *options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zoolet", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line.rstrip("\n"))

    def wait_for(self, text: str) -> str:
        """Wait for a line with this text, and return the line."""

        def has_ended() -> bool:
            return self._process.poll() is not None and not self._reader.is_alive()

        def found() -> list[str]:
            return [line for line in self.output if text in line]

        wait_until(lambda: bool(found()) or has_ended(), f"a line with {text!r}")
        assert found(), self.output
        return found()[0]

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit status."""
        status = self._process.wait(2 * WAIT_S)
        self._reader.join(WAIT_S)
        return status

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """Kill the process as the kernel does."""
        self._process.kill()
        self.wait()

    @property
    def text(self) -> str:
        """The output as one text."""
        return "\n".join(self.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def run_here(source: str, target: str, state: Path | None, *options: str) -> tuple[int, str]:
    """Run ``zoolet mirror`` in this process until its end; return its exit status and output."""
    where = [] if state is None else ["--state", str(state)]
    done = CliRunner().invoke(mirror, ["--from", source, "--to", target, *where, *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def tree_at(client: Client, root: str) -> Trees:
    """Return the persistent znodes of a subtree, without those of ZooKeeper itself."""
    if client.exists(root) is None:
        return {}
    return {
        znode.path[0 if root == "/" else len(root) :]: (
            znode.data,
            tuple(sorted((entry.perms, *entry.id) for entry in znode.acl)),
        )
        for znode in client.read_subtree(root)
        if not znode.stat.ephemeral_owner and not znode.path.startswith("/zoolet-mirror")
    }


def check_equal(source: Client, source_root: str, target: Client, target_root: str) -> None:
    """Check that a subtree and its copy are equal, and that no counter of the copy is lower."""
    wanted = tree_at(source, source_root)
    assert tree_at(target, target_root) == wanted
    for relative in wanted:
        counters = []
        for client, root in ((source, source_root), (target, target_root)):
            stat = client.exists(("" if root == "/" else root) + relative or "/")
            assert stat is not None
            counters.append(counter_of(stat))
        assert counters[1] >= counters[0], relative
