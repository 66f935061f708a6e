"""Finds the zoo.cfg, the data and the number of a member in its directory.

A member is named by its zoo.cfg, by the directory of its zoo.cfg, or by its dataDir. This module
changes no files.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.ensemble.configurations import options_in
from zoolet.ensemble.errors import EnsembleError
from zoolet.server.zoo_cfg.properties import PropertiesError, Property, parse_properties
from zoolet.server.zoo_cfg.settings import read_settings_text
from zoolet.storage.files import VERSION_DIRECTORY, DataDirectories

CONFIG_NAME: Final = "zoo.cfg"
DATA_NAME: Final = "data"
LOG_NAME: Final = "log"
MYID_NAME: Final = "myid"
JAVA_ENV_NAME: Final = "java.env"

_SERVER_PREFIX: Final = "server."


class MemberDirectory(NamedTuple):
    """The directory of a member.

    Attributes:
        path: the path that the user named.
        config_path: the path of zoo.cfg; None if only the dataDir is known.
        properties: the properties of zoo.cfg.
        servers: the values of the ``server.N`` lines by number, also of a dynamicConfigFile.
        directories: the directories of the snapshots and logs.
        number: the number in ``myid``; None if there is no such file.
        java_options: Java's system properties in ``java.env``.
    """

    path: Path
    config_path: Path | None
    properties: tuple[Property, ...]
    servers: dict[int, str]
    directories: DataDirectories
    number: int | None
    java_options: dict[str, int]

    @property
    def name(self) -> str:
        """The member in messages."""
        number = f"member {self.number}" if self.number is not None else "a member"
        return f"{number} ({self.data_dir})"

    @property
    def data_dir(self) -> Path:
        """The dataDir."""
        return self.directories.snapshots.parent

    @property
    def homes(self) -> tuple[Path, ...]:
        """The dataDir and the dataLogDir."""
        return tuple(directory.parent for directory in self.directories)

    def value(self, key: str) -> str:
        """Return the value of a key in zoo.cfg; "" if it is not set."""
        values = [found.value for found in self.properties if found.key == key]
        return values[-1] if values else ""

    @property
    def client(self) -> tuple[str | None, int] | None:
        """The address and the port for clients in the member's ``server.N`` line."""
        if self.number is None:
            return None
        _, semicolon, client = self.servers.get(self.number, "").partition(";")
        host, _, port = client.strip().rpartition(":")
        if not semicolon or not port.isdecimal():
            return None
        host = host.strip("[]")
        return host if host not in {"", "0.0.0.0", "::"} else None, int(port)  # noqa: S104


def find_member(path: Path, *, is_unpublished: bool = False) -> MemberDirectory:
    """Return the directory of a member.

    If ``is_unpublished``, the data are beside zoo.cfg, which names other directories. Raises
    EnsembleError if there is neither a zoo.cfg nor a data directory, or if the place of the data is
    ambiguous. Raises ConfigError if zoo.cfg cannot be read.
    """
    path = path.absolute()
    config_path = _config_of(path)
    if config_path is None:
        above = path.parent if path.name == VERSION_DIRECTORY else path
        return _member(path, None, (), DataDirectories.of(above))
    properties = _properties_in(config_path)
    values = {found.key: found.value for found in properties}
    if not values.get("dataDir"):
        raise EnsembleError(f"{config_path}: dataDir is missing: add dataDir=..., the directory.")
    log_dir = values.get("dataLogDir")
    if is_unpublished:
        beside = config_path.parent
        directories = DataDirectories.of(beside / DATA_NAME, beside / LOG_NAME if log_dir else None)
    else:
        directories = DataDirectories.of(
            _place(config_path, values["dataDir"], DATA_NAME),
            _place(config_path, log_dir, LOG_NAME) if log_dir else None,
        )
    return _member(path, config_path, properties, directories)


def _config_of(path: Path) -> Path | None:
    """Return the path of zoo.cfg; None if ``path`` is a dataDir."""
    if path.is_file():
        return path
    if (path / CONFIG_NAME).is_file():
        return path / CONFIG_NAME
    if (path / VERSION_DIRECTORY).is_dir() or path.name == VERSION_DIRECTORY:
        return None
    raise EnsembleError(
        f"{path} has neither a {CONFIG_NAME} nor a {VERSION_DIRECTORY}: name the directory of a"
        " zoo.cfg, or a dataDir."
    )


def _place(config_path: Path, written: str, name: str) -> Path:
    """Return a directory in zoo.cfg; if it does not exist, the directory beside zoo.cfg.

    The directory of a member may have been copied from another machine. Raises EnsembleError if
    both exist.
    """
    place, beside = Path(written), config_path.parent / name
    if not (beside / VERSION_DIRECTORY).is_dir():
        return place
    if not (place / VERSION_DIRECTORY).is_dir():
        return beside
    if place.resolve() != beside.resolve():
        raise EnsembleError(
            f"{config_path} names {place}, but {beside} exists too: name the dataDir instead of the"
            " directory of zoo.cfg."
        )
    return place


def _properties_in(path: Path) -> tuple[Property, ...]:
    try:
        return tuple(parse_properties(read_settings_text(path)))
    except PropertiesError as error:
        raise EnsembleError(f"{path}:{error.line}: {error.reason}.") from error


def _member(
    path: Path,
    config_path: Path | None,
    properties: tuple[Property, ...],
    directories: DataDirectories,
) -> MemberDirectory:
    options: dict[str, int] = {}
    servers = _servers_in(properties)
    if config_path is not None:
        servers |= _dynamic_servers(config_path, properties)
        java_env = config_path.parent / JAVA_ENV_NAME
        if java_env.is_file():
            options = options_in(java_env.read_text(errors="replace"))
    number = _number_in(directories.snapshots.parent / MYID_NAME)
    return MemberDirectory(path, config_path, properties, servers, directories, number, options)


def _servers_in(properties: Iterable[Property]) -> dict[int, str]:
    return {
        int(number): found.value
        for found in properties
        if found.key.startswith(_SERVER_PREFIX)
        and (number := found.key.removeprefix(_SERVER_PREFIX)).isdecimal()
    }


def _dynamic_servers(config_path: Path, properties: Iterable[Property]) -> dict[int, str]:
    """Return the servers in the dynamicConfigFile, which may have been copied beside zoo.cfg."""
    named = [found.value for found in properties if found.key == "dynamicConfigFile"]
    if not named:
        return {}
    for path in (Path(named[-1]), config_path.parent / Path(named[-1]).name):
        if path.is_file():
            return _servers_in(_properties_in(path))
    return {}


def _number_in(path: Path) -> int | None:
    """Return the number in a file ``myid``; None if the file does not exist."""
    try:
        return int(path.read_text(encoding="ascii").split("\n", 1)[0])
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise EnsembleError(
            f"{path} does not contain a number: write the number of the member into the file."
        ) from error


def observers_in(servers: dict[int, str]) -> set[int]:
    """Return the numbers of the observers among the values of ``server.N`` lines."""
    return {
        number
        for number, value in servers.items()
        if value.partition(";")[0].rpartition(":")[2].strip().lower() == "observer"
    }
