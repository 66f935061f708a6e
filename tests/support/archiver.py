"""``zoolet archive`` in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import WAIT_S, wait_until


class ArchiverProcess:
    """An archiver that a test may kill and start again.

    Attributes:
        log: the text that the processes have written.
    """

    def __init__(
        self, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """``arguments`` are those of ``zoolet archive``."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "archiver.log"
        self._log.touch()
        self._command = [sys.executable, "-m", "zoolet", "archive", *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The text that the processes have written."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start the process."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def run(self) -> int:
        """Run the command to its end; return the exit status."""
        self.start()
        return self.wait()

    def wait(self) -> int:
        """Wait until the process has ended; return its exit status."""
        assert self._process is not None
        status = self._process.wait(WAIT_S)
        self._process = None
        return status

    def wait_for(self, text: str, after: int = 0) -> None:
        """Wait until the log has a text after a position."""

        def has_text() -> bool:
            assert self._process is not None
            ended = self._process.poll() is not None
            found = text in self.log[after:]
            assert found or not ended, self.log
            return found

        wait_until(has_text, f"{text!r} in the log of the archiver")

    def stop(self) -> int:
        """Stop with SIGTERM; return the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """End with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
