"""The server that is attacked: a zoolet process, its limits, its memory, its descriptors."""

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.attack.verdict import Data
from zoolet.testing import ServerProcess

SETTINGS: Mapping[str, object] = {
    "tickTime": 2000,
    "maxClientCnxns": 60,
    "preAllocSize": 1024,
}
MOST_CONNECTIONS = 60
"""As many as one address may have (the default of maxClientCnxns)."""

_OBSERVER = "127.0.0.2"
"""The measuring program asks from another address, so that it takes no connection from clients."""

_ANSWER_TIMEOUT_S = 30.0
_RESET_PEAK = "5"


class Target(ServerProcess):
    """A server process, started under limits of the shell (``ulimit``)."""

    def __init__(
        self, directory: Path, settings: Mapping[str, object], limits: Mapping[str, int]
    ) -> None:
        """``limits`` are those of the shell's ulimit, by option: v in KB, n in descriptors."""
        super().__init__(directory, {**SETTINGS, **settings})
        self._limits = limits

    def _command(self) -> Sequence[str]:
        command = super()._command()
        if not self._limits:
            return command
        limits = "".join(f"ulimit -{option} {value}; " for option, value in self._limits.items())
        return ["sh", "-c", f'{limits}exec "$@"', "sh", *command]

    def without_limits(self) -> None:
        """Start without limits from now on."""
        self._limits = {}

    def resident_mb(self) -> float:
        """Return the resident memory; 0 if the process has ended."""
        return self._memory_mb("VmRSS")

    def peak_mb(self) -> float:
        """Return the most since ``forget_peak``; 0 if the process has ended."""
        return self._memory_mb("VmHWM")

    def forget_peak(self) -> None:
        """Begin again to look for the peak."""
        Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK)

    def _memory_mb(self, name: str) -> float:
        with contextlib.suppress(OSError, RuntimeError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1]) / 1000
        return 0.0

    def cpu_s(self) -> float:
        """Return how much CPU time the process has used."""
        fields = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        return int(fields[0]) / 1e9

    def descriptors(self) -> int:
        """Return how many file descriptors the process has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def word(self, word: str) -> str:
        """Return the answer to a four-letter word; raises OSError."""
        with socket.create_connection(
            ("127.0.0.1", self.port), _ANSWER_TIMEOUT_S, source_address=(_OBSERVER, 0)
        ) as asking:
            asking.sendall(word.encode())
            answer = b""
            while data := asking.recv(1 << 16):
                answer += data
        return answer.decode()

    def figures(self) -> dict[str, str]:
        """Return what mntr says; raises OSError."""
        pairs = (line.partition("\t") for line in self.word("mntr").splitlines())
        return {name.removeprefix("zk_"): value for name, _, value in pairs}

    def data(self) -> Data:
        """Return how much the server stores; raises OSError."""
        figures = self.figures()
        return Data(int(figures["znode_count"]), int(figures["approximate_data_size"]))

    def wait_for_sessions(self, most: int, timeout_s: float) -> bool:
        """Wait until there are at most this number of sessions; False if there are more."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if int(self.figures()["global_sessions"]) <= most:
                return True
            time.sleep(0.5)
        return False

    def log_bytes(self) -> int:
        """Return the size of what the server has logged."""
        return (self.directory / "server.log").stat().st_size
