"""The environment variables of ``zkServer.sh``, which are those of Apache ZooKeeper's scripts.

Only the command-line entry points read environment variables: they pass ``os.environ`` to this
module, and pass plain values to the rest of the server. Source: ``zkEnv.sh`` and ``zkServer.sh`` of
Apache ZooKeeper 3.9.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from zoolet.process.user import user_name
from zoolet.server.cli.control import OUTPUT_NAME
from zoolet.server.cli.jvm_flags import JvmFlags, read_flags
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import Config

DEFAULT_CONFIG_DIRECTORIES = (Path("conf"), Path("/etc/zookeeper/conf"))
"""The directories that are searched for zoo.cfg if no argument, option or variable names one."""

_CONFIG_NAME = "zoo.cfg"
_FLAG_VARIABLES = ("SERVER_JVMFLAGS", "JVMFLAGS")
_FOR_JAVA = ("JMXPORT", "ZK_SERVER_HEAP")
_SCRIPTS = ("java.env", "zookeeper-env.sh")


class Environment(NamedTuple):
    """The values of the environment variables.

    Attributes:
        config_directory: the directory in ``ZOOCFGDIR`` or ``--config``; None means the default
            directories.
        config_name: the file name in ``ZOOCFG``; by default ``zoo.cfg``.
        log_directory: the directory in ``ZOO_LOG_DIR``; None means that the log is in the dataDir.
        pid_path: the path in ``ZOOPIDFILE``; None if it is not set. The lock file in the dataDir
            contains the pid too.
        flags: the flags in ``SERVER_JVMFLAGS`` and ``JVMFLAGS``.
        ignored: the names of variables that are set but have no effect in zoolet.
    """

    config_directory: Path | None
    config_name: str
    log_directory: Path | None
    pid_path: Path | None
    flags: JvmFlags
    ignored: tuple[str, ...]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Return the values of the variables; an empty variable counts as not set.

        Raises ServerError if the flags in a variable cannot be parsed.
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
        """Return a copy with ``directory`` as the config_directory, or itself if that is None."""
        return self if directory is None else self._replace(config_directory=directory)

    def find_config(self, named: Path | None) -> Path:
        """Return the path of zoo.cfg; raises ConfigError if none is named and none is found.

        As in Apache ZooKeeper, a name without a directory is a file in ``ZOOCFGDIR``.
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
            "no zoo.cfg was named, and no file exists at"
            f" {' or '.join(str(candidate) for candidate in candidates)}: name a zoo.cfg."
        )

    def log_path(self, config: Config) -> Path:
        """Return the path of a background server's log file."""
        if self.log_directory is None:
            return config.data_dir.absolute() / OUTPUT_NAME
        name = f"zookeeper-{user_name()}-server-{socket.gethostname()}.out"
        return self.log_directory.absolute() / name

    def warnings(self, config_path: Path) -> list[str]:
        """Return a line for each flag, variable and script file that has no effect in zoolet."""
        lines = [
            f"the JVM flag {flag} is ignored: zoolet has no JVM" for flag in self.flags.ignored
        ]
        lines += [f"{name} is ignored: zoolet has no JVM" for name in self.ignored]
        for name in _SCRIPTS:
            if (script := config_path.parent / name).exists():
                lines.append(f"{script} is not read: set its variables in the environment")
        return lines
