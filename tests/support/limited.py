"""Server processes with few descriptors, or on asyncio's own event loop."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.loops import count_descriptors
from zoolet.testing import ServerProcess

_WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from zoolet.cli import main; main()"


class LimitedServer(ServerProcess):
    """A server under ``ulimit -n``."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, object] | None = None,
        *,
        descriptors: int = 1024,
        has_uvloop: bool = True,
    ) -> None:
        super().__init__(directory, settings)
        self._descriptors = descriptors
        self._has_uvloop = has_uvloop

    def _command(self) -> Sequence[str]:
        python, *arguments = super()._command()
        if not self._has_uvloop:
            arguments = ["-c", _WITHOUT_UVLOOP, *arguments[2:]]
        shell = f'ulimit -n {self._descriptors} && exec "$0" "$@"'
        return ["sh", "-c", shell, python, *arguments]

    @property
    def num_descriptors(self) -> int:
        """How many descriptors the process has open."""
        return count_descriptors(self.pid)
