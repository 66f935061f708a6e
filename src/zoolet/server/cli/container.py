"""The entry point of the container image, with the variables of the official ZooKeeper image.

``python -m zoolet.server.cli.container zkServer.sh start-foreground`` writes zoo.cfg and myid from
the environment variables, and then replaces its own process with the given command. If it runs as
root, and the command is ``zkServer.sh``, it first gives the data directories to the user of the
server, and continues as this user. It executes every other command as it is given.

Invariants: a zoo.cfg or myid that exists in its directory is never changed. The server is never
started as root. This module is loaded before each start, so it must import neither click nor
asyncio.

Source: ``docker-entrypoint.sh`` and ``Dockerfile`` of the official image, for ZooKeeper 3.9.5.
"""

import os
import pwd
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from zoolet.console.os_errors import explain
from zoolet.server.zoo_cfg.properties import PropertiesError, decode_properties, parse_properties

USER_ID: Final = 1000
GROUP_ID: Final = 1000
"""The user and the group ``zookeeper`` of the image, with the numbers of the official image."""

SERVER_SCRIPT: Final = "zkServer.sh"
START: Final = (SERVER_SCRIPT, "start-foreground")
"""The command that the image starts if no command is given."""

FALLBACK_NAME: Final = "zoolet-conf"
"""The directory of zoo.cfg in TMPDIR, or in /tmp, if the directory for zoo.cfg is read-only."""

ADMIN_ADDRESS_KEY: Final = "admin.serverAddress"
ADMIN_FLAG: Final = f"-Dzookeeper.{ADMIN_ADDRESS_KEY}=0.0.0.0"
"""In a container nobody can connect to 127.0.0.1 from outside, so the default is Apache's."""

_FAILED: Final = 1
_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127
"""The statuses with which a shell, and so the official image, reports what it cannot execute."""

_BLANKS: Final = re.compile("[ \t\n]+")
_HEADER: Final = "# The entry point of the container image wrote this file: docs/container.md.\n"


class EntryError(Exception):
    """The command cannot be started; the message has the reason and what the user can do."""


class Variable(NamedTuple):
    """An environment variable of the official image.

    Attributes:
        name: the name of the variable.
        default: the value of a variable that is not set, or is empty.
        key: the key of zoo.cfg that gets the value; "" if the value belongs to no single key. The
            key is not written if the value is empty.
        is_lines: whether the value is a list of lines of zoo.cfg with blanks between them.
    """

    name: str
    default: str = ""
    key: str = ""
    is_lines: bool = False


VARIABLES: Final = (
    Variable("ZOO_CONF_DIR", "/conf"),
    Variable("ZOO_DATA_DIR", "/data", "dataDir"),
    Variable("ZOO_DATA_LOG_DIR", "/datalog", "dataLogDir"),
    Variable("ZOO_LOG_DIR", "/logs"),
    Variable("ZOO_TICK_TIME", "2000", "tickTime"),
    # These two have no effect in zoolet, so the server would log two warnings at each start.
    Variable("ZOO_INIT_LIMIT", "", "initLimit"),
    Variable("ZOO_SYNC_LIMIT", "", "syncLimit"),
    Variable("ZOO_AUTOPURGE_SNAPRETAINCOUNT", "3", "autopurge.snapRetainCount"),
    Variable("ZOO_AUTOPURGE_PURGEINTERVAL", "0", "autopurge.purgeInterval"),
    Variable("ZOO_MAX_CLIENT_CNXNS", "60", "maxClientCnxns"),
    Variable("ZOO_STANDALONE_ENABLED", "true", "standaloneEnabled"),
    Variable("ZOO_ADMINSERVER_ENABLED", "true", "admin.enableServer"),
    Variable("ZOO_SERVERS", "server.1=localhost:2888:3888;2181", "server.N", is_lines=True),
    Variable("ZOO_4LW_COMMANDS_WHITELIST", "", "4lw.commands.whitelist"),
    Variable("ZOO_CFG_EXTRA", is_lines=True),
    Variable("ZOO_MY_ID", "1"),
)
"""The variables of the official image, in the order of the lines that they become in zoo.cfg."""

_DEFAULTS: Final = {variable.name: variable.default for variable in VARIABLES}


def value_of(variables: Mapping[str, str], name: str) -> str:
    """Return the value of a variable of the table; the default if it is not set or is empty."""
    return variables.get(name) or _DEFAULTS[name]


def zoo_cfg_text(variables: Mapping[str, str]) -> str:
    """Return the text of the zoo.cfg that the variables describe.

    The lines are those of the official image. As there, nothing is quoted: a blank in ZOO_SERVERS
    or ZOO_CFG_EXTRA always begins a new line, and quotation marks are part of the values.
    """
    lines: list[str] = []
    for variable in VARIABLES:
        value = value_of(variables, variable.name)
        if variable.is_lines:
            lines += filter(None, _BLANKS.split(value))
        elif variable.key and value:
            lines.append(f"{variable.key}={value}")
    return _HEADER + "".join(f"{line}\n" for line in lines)


# --- The directory of zoo.cfg


def config_path(variables: Mapping[str, str]) -> Path:
    """Return the path of the zoo.cfg that the server reads after the entry point has run."""
    wanted = _wanted_path(variables)
    return wanted if wanted.is_file() else _fallback_path(variables)


def _fallback_path(variables: Mapping[str, str]) -> Path:
    directory = Path(variables.get("TMPDIR") or "/tmp")  # noqa: S108 -- _make_fallback checks it
    return directory / FALLBACK_NAME / _wanted_path(variables).name


def _wanted_path(variables: Mapping[str, str]) -> Path:
    """Return the path in ZOOCFGDIR if the user has set it, else in ZOO_CONF_DIR.

    The image sets ZOOCFGDIR to the default of ZOO_CONF_DIR, for commands that do not run through
    the entry point (``docker exec``). So this value means that the user has not set it.
    """
    directory = variables.get("ZOOCFGDIR")
    if not directory or directory == _DEFAULTS["ZOO_CONF_DIR"]:
        directory = value_of(variables, "ZOO_CONF_DIR")
    return Path(directory) / (variables.get("ZOOCFG") or "zoo.cfg")


def write_config(variables: Mapping[str, str]) -> Path:
    """Write zoo.cfg, unless one exists in its directory; return its path.

    If the directory cannot be written, for example because the root file system is read-only, the
    file is in the fallback directory.

    Raises EntryError if the file cannot be written in both directories, if a directory has its
    name, or if another user owns the fallback directory.
    """
    path = _wanted_path(variables)
    if path.is_file():
        return path
    if path.is_dir():
        raise EntryError(
            f"{path} is a directory. If you mounted a file there, it does not exist on the host:"
            " create it, or remove the mount."
        )
    wanted = path.parent
    try:
        if not os.access(wanted, os.W_OK | os.X_OK):
            path = _fallback_path(variables)
            _make_fallback(path.parent)
            say(f"{wanted} cannot be written, so zoo.cfg is {path}")
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(os.fsencode(zoo_cfg_text(variables)))
        new.replace(path)
    except OSError as error:
        raise EntryError(
            f"zoo.cfg cannot be written. {explain(error)} Mount a zoo.cfg at"
            f" {wanted / path.name}, or make {wanted} or {path.parent} writable for user"
            f" {os.geteuid()}."
        ) from error
    return path


def _make_fallback(directory: Path) -> None:
    directory.mkdir(mode=0o755, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != os.geteuid():
        raise EntryError(f"{directory} belongs to another user: remove it, or set TMPDIR.")


def write_my_id(variables: Mapping[str, str]) -> None:
    """Write the file myid in the data directory, unless it exists; raises EntryError.

    zoolet does not need the file, but Apache ZooKeeper does when it gets the data directory.
    """
    directory = Path(value_of(variables, "ZOO_DATA_DIR"))
    path = directory / "myid"
    if path.is_file():
        return
    if not directory.is_dir():
        raise EntryError(
            f"ZOO_DATA_DIR is {directory}, which is no directory: mount a volume there, or create"
            " the directory."
        )
    try:
        path.write_bytes(os.fsencode(value_of(variables, "ZOO_MY_ID") + "\n"))
    except OSError as error:
        raise EntryError(
            f"cannot write in ZOO_DATA_DIR. {explain(error)} This process has the user"
            f" {os.geteuid()}. Or start the container as root: its entry point gives the directory"
            f" to user {USER_ID}, which runs the server."
        ) from error


# --- The user of the server


def hand_over(directories: Sequence[Path]) -> None:
    """Give the directories that exist to the user of the server, and become this user.

    As in the official image, the group of the files does not change. Raises EntryError if this
    process lacks a capability, or a file system refuses the change.
    """
    try:
        for directory in directories:
            if directory.is_dir():
                _give(os.path.realpath(directory))
        os.setgroups([GROUP_ID])
        os.setgid(GROUP_ID)
        os.setuid(USER_ID)
    except OSError as error:
        raise EntryError(
            f"cannot give the data directories to user {USER_ID}, or become this user."
            f" {explain(error)} Start the container with the capabilities CHOWN, DAC_OVERRIDE,"
            f" SETGID and SETUID, or as another user than root: --user {USER_ID}:{GROUP_ID}."
        ) from error


def _give(directory: str) -> None:
    """Change the owner of a directory and of everything below it; symbolic links are not followed.

    Nothing is written for a file that has the right owner already.
    """
    _change_owner(directory, None)
    for _, folders, files, fd in os.fwalk(directory, onerror=_raise, follow_symlinks=False):
        for name in (*folders, *files):
            _change_owner(name, fd)


def _change_owner(name: str, fd: int | None) -> None:
    try:
        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid != USER_ID:
            os.chown(name, USER_ID, -1, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        pass  # another container on the same volume may have removed it


def _raise(error: OSError) -> NoReturn:
    raise error


# --- The command


def command_environment(variables: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the environment of the command: where zoo.cfg is, and the default of the admin port.

    The admin endpoint listens on all addresses, as in the official image, unless zoo.cfg or a flag
    of the user has another address.
    """
    changed = {**variables, "ZOOCFGDIR": str(path.parent)}
    if not any(key == ADMIN_ADDRESS_KEY for key in _keys(path)):
        # In JVMFLAGS, and later in SERVER_JVMFLAGS, a flag of the user replaces this one.
        flags = variables.get("SERVER_JVMFLAGS", "")
        changed["SERVER_JVMFLAGS"] = f"{ADMIN_FLAG} {flags}".rstrip()
    return changed


def _keys(path: Path) -> Iterator[str]:
    """Yield the keys of a zoo.cfg, up to a malformed line; the server reports this line."""
    try:
        for line in parse_properties(decode_properties(path.read_bytes())):
            yield line.key
    except (OSError, PropertiesError):
        return


def with_exit_status(command: Sequence[str]) -> list[str]:
    """Return the command with the option for Apache ZooKeeper's exit statuses, if it is a start."""
    changed = list(command)
    if command[0] == SERVER_SCRIPT and START[1] in command:
        changed.insert(command.index(START[1]) + 1, "--apache-exit-status")
    return changed


def prepare(command: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Do everything that comes before the command; return the environment of the command.

    Raises EntryError or OSError if a step fails, and the command is the server's script.
    """
    environment = dict(variables)
    if command[0] == SERVER_SCRIPT and os.geteuid() == 0:
        names = ("ZOO_DATA_DIR", "ZOO_DATA_LOG_DIR", "ZOO_LOG_DIR")
        hand_over([Path(value_of(variables, name)) for name in names])
        environment["HOME"] = _home()
    try:
        path = write_config(variables)
        write_my_id(variables)
    except (EntryError, OSError) as error:
        if command[0] == SERVER_SCRIPT:
            raise
        say(_text_of(error))
        return environment
    return command_environment(environment, path)


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def say(message: str) -> None:
    """Print a message to standard error."""
    sys.stderr.write(f"zoolet: {message}\n")


def _text_of(error: EntryError | OSError) -> str:
    return explain(error) if isinstance(error, OSError) else str(error)


def main() -> NoReturn:
    """Prepare the container, then execute the command in the arguments in this process."""
    command = sys.argv[1:] or list(START)
    try:
        environment = prepare(command, os.environ)
    except (EntryError, OSError) as error:
        say(_text_of(error))
        sys.exit(_FAILED)
    try:
        os.execvpe(command[0], with_exit_status(command), environment)  # noqa: S606 -- as asked
    except OSError as error:
        say(f"{command[0]} cannot be executed: {error.strerror}.")
        is_missing = isinstance(error, FileNotFoundError)
        sys.exit(_NOT_FOUND if is_missing else _NOT_EXECUTABLE)


if __name__ == "__main__":
    main()
