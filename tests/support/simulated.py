"""What the tests share that run a server's parts without sockets."""

from pathlib import Path

from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.state_machine.rules import Rules

TICK_MS = 2000


def default_config(data_dir: Path) -> Config:
    """Return the settings of a server whose zoo.cfg has only what it must have."""
    return parse_config(f"dataDir={data_dir}\nclientPort=1\n", Path("zoo.cfg"))


def simulated_config(data_dir: Path, rules: Rules) -> Config:
    """Return the settings of a server that listens nowhere."""
    return default_config(data_dir)._replace(
        tick_time_ms=TICK_MS,
        min_session_timeout_ms=2 * TICK_MS,
        max_session_timeout_ms=20 * TICK_MS,
        max_connections_per_address=0,
        rules=rules,
    )


class OpenTransport:
    """What a connection asks of its transport, for a client that takes all it is sent at once."""

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        del high

    def get_write_buffer_size(self) -> int:
        return 0
