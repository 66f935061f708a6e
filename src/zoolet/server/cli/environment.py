"""What ``zkServer.sh`` takes from its environment: the variables of Apache ZooKeeper's scripts.

Only the command-line entry points read environment variables. They pass ``os.environ`` here, and
the rest of the server gets values. Source: ``zkEnv.sh`` and ``zkServer.sh`` of Apache ZooKeeper
3.9.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from zoolet.server.cli.control import OUTPUT_NAME
from zoolet.server.cli.jvm_flags import JvmFlags, read_flags
from zoolet.server.common.errors import ConfigError
from zoolet.server.common.user import user_name
from zoolet.server.zoo_cfg.config import Config

DEFAULT_CONFIG_DIRECTORIES = (Path("conf"), Path("/etc/zookeeper/conf"))
"""Where zoo.cfg is looked for if nothing names it."""

_CONFIG_NAME = "zoo.cfg"
_FLAG_VARIABLES = ("SERVER_JVMFLAGS", "JVMFLAGS")
_FOR_JAVA = ("JMXPORT", "ZK_SERVER_HEAP")
_SCRIPTS = ("java.env", "zookeeper-env.sh")


class Environment(NamedTuple):
    """What the variables say.

    Attributes:
        config_directory: ``ZOOCFGDIR`` or ``--config``; None: the default directories.
        config_name: ``ZOOCFG``.
        log_directory: ``ZOO_LOG_DIR``; None: the log is in the dataDir.
        pid_path: ``ZOOPIDFILE``; None: the only pid file is the lock in the dataDir.
        flags: what ``SERVER_JVMFLAGS`` and ``JVMFLAGS`` hold.
        ignored: names of variables that are set and mean nothing here.
    """

    config_directory: Path | None
    config_name: str
    log_directory: Path | None
    pid_path: Path | None
    flags: JvmFlags
    ignored: tuple[str, ...]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Return what the variables say; an empty one is as if it were not set.

        Raises ServerError if flags cannot be read.
        """

        def path(name: str) -> Path | None:
            return Path(variables[name]) if variables.get(name) else None

        flags = read_flags((name, variables.get(name, "")) for name in _FLAG_VARIABLES)
        if variables.get("ZOO_DATADIR_AUTOCREATE_DISABLE"):
            disabled = {"zookeeper.datadir.autocreate": "false"}
            flags = flags._replace(properties=disabled | dict(flags.properties))
        return cls(
            config_directory=path("ZOOCFGDIR"),
            config_name=variables.get("ZOOCFG") or _CONFIG_NAME,
            log_directory=path("ZOO_LOG_DIR"),
            pid_path=path("ZOOPIDFILE"),
            flags=flags,
            ignored=tuple(name for name in _FOR_JAVA if variables.get(name)),
        )

    def with_config_directory(self, directory: Path | None) -> "Environment":
        """Return this environment with the directory that ``--config`` names, if it is given."""
        return self if directory is None else self._replace(config_directory=directory)

    def find_config(self, named: Path | None) -> Path:
        """Return the path of the zoo.cfg that is meant; raises ConfigError if there is none.

        As in Apache ZooKeeper, a name without a directory is one in ``ZOOCFGDIR``.
        """
        if named is not None and (len(named.parts) > 1 or self.config_directory is None):
            return named
        if self.config_directory is not None:
            found = self.config_directory / (named or self.config_name)
            return named if named is not None and not found.exists() and named.exists() else found
        candidates = [directory / self.config_name for directory in DEFAULT_CONFIG_DIRECTORIES]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        raise ConfigError(
            "no zoo.cfg was named, and there is none at"
            f" {' or '.join(str(candidate) for candidate in candidates)}: name one."
        )

    def log_path(self, config: Config) -> Path:
        """Return the file that a background server logs to."""
        if self.log_directory is None:
            return config.data_dir.absolute() / OUTPUT_NAME
        name = f"zookeeper-{user_name()}-server-{socket.gethostname()}.out"
        return self.log_directory.absolute() / name

    def warnings(self, config_path: Path) -> list[str]:
        """Return a line for each thing that an operator may expect to have an effect."""
        lines = [f"the JVM flag {flag} is ignored: there is no JVM" for flag in self.flags.ignored]
        lines += [f"{name} is ignored: there is no JVM" for name in self.ignored]
        for name in _SCRIPTS:
            if (script := config_path.parent / name).exists():
                lines.append(f"{script} is not read: set its variables in the environment")
        return lines
