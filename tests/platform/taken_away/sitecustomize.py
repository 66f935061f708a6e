"""Takes things away from every Python process that a platform test starts.

Python imports this module at its start, because its folder is in PYTHONPATH. ``ZOOLET_WITHOUT``
names what is taken away; ``REMOVALS`` says how. Each process adds a line to the file that
``ZOOLET_WITHOUT_LOG`` names, so that a test knows that nothing was missed. A process without these
variables is not changed.
"""

import _thread
import errno
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

if sys.platform == "linux":
    import fcntl
    import resource

FULL_SYNC = 51
"""macOS's number of F_FULLFSYNC."""
OPEN_MAX = 10_240
"""macOS's highest soft limit of descriptors, where the hard limit is "unlimited"."""
SIOCOUTQ = 0x5411
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = frozenset(
    f"os.{name}"
    for name in ("chmod", "link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate")
)


def note(what: str) -> None:
    """Add a line to the log of this test."""
    log = os.open(os.environ["ZOOLET_WITHOUT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{what}\n".encode("utf-8", "backslashreplace"))
    os.close(log)


def lacks(module: str, *names: str) -> Callable[[], None]:
    """Return what removes names from a module."""

    def remove() -> None:
        found = importlib.import_module(module)
        for name in names:
            if hasattr(found, name):
                delattr(found, name)

    return remove


def fails(module: str, name: str, code: int) -> Callable[[], None]:
    """Return what lets a system call fail as one that is not supported."""

    def replace() -> None:
        setattr(importlib.import_module(module), name, refuse)

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return replace


def cannot_import(*names: str) -> Callable[[], None]:
    """Return what makes modules unknown."""

    def remove() -> None:
        for name in names:
            sys.modules[name] = None  # type: ignore[assignment]

    return remove


def unlimited_descriptors() -> None:
    """Give this process macOS's limits: few descriptors, and a hard limit that nothing reaches."""
    real_set = resource.setrlimit
    limits = [256, resource.RLIM_INFINITY]

    def get(_: int) -> tuple[int, int]:
        return limits[0], limits[1]

    def change(which: int, wanted: tuple[int, int]) -> None:
        soft, hard = wanted
        if hard != resource.RLIM_INFINITY:
            raise ValueError("this test expects that the hard limit does not change")
        if soft == resource.RLIM_INFINITY or soft > OPEN_MAX:
            raise ValueError("current limit exceeds maximum limit")
        real_set(which, (soft, OPEN_MAX))
        limits[0] = soft
        note(f"soft limit {soft}")

    real_set(resource.RLIMIT_NOFILE, (256, OPEN_MAX))
    resource.getrlimit = get
    resource.setrlimit = change


def few_descriptors() -> None:
    """Limit this process like ``ulimit -n 256``."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def full_sync(code: int = 0) -> Callable[[], None]:
    """Return what adds F_FULLFSYNC, which may fail."""

    def add() -> None:
        real = fcntl.fcntl

        def control(fd: int, command: int, argument: Any = 0) -> Any:
            if command != FULL_SYNC:
                return real(fd, command, argument)
            note("full sync")
            if code:
                raise OSError(code, os.strerror(code))
            os.fsync(fd)
            return 0

        fcntl.F_FULLFSYNC = FULL_SYNC  # type: ignore[attr-defined]
        fcntl.fcntl = control  # type: ignore[assignment]

    return add


def no_queue_of_sockets() -> None:
    """Let the kernel not tell how many bytes a peer has not acknowledged."""
    lacks("socket", "TCP_INFO")()
    real = fcntl.ioctl

    def control(fd: Any, request: int, *arguments: Any) -> Any:
        if request == SIOCOUTQ:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return real(fd, request, *arguments)

    fcntl.ioctl = control


def no_proc() -> None:
    """Hide /proc from Python code. C code still sees it (see test_container.py)."""
    real = os.stat

    def stat(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if not isinstance(path, int) and is_below(path, "/proc"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return real(path, *arguments, **named)

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        is_reading = event in {"open", "os.listdir", "os.scandir"}
        if is_reading and is_path(arguments[0]) and is_below(arguments[0], "/proc"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])

    os.stat = stat
    sys.addaudithook(check)


def read_only_root() -> None:
    """Let every change fail outside of the folder that ``ZOOLET_WRITABLE`` names."""
    writable = os.environ["ZOOLET_WRITABLE"]

    def changed_paths(event: str, arguments: tuple[Any, ...]) -> Iterator[Any]:
        if event == "open" and arguments[2] & WRITING:
            yield arguments[0]
        elif event in CHANGES:
            yield from arguments[: 2 if event in {"os.link", "os.rename"} else 1]

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        for path in changed_paths(event, arguments):
            if is_path(path) and not is_below(path, writable) and not is_below(path, "/dev"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    sys.addaudithook(check)


def is_path(value: Any) -> bool:
    """Say whether an argument is a path, and not a descriptor."""
    return isinstance(value, str | bytes | os.PathLike)


def is_below(path: Any, folder: str) -> bool:
    """Say whether a path is a folder, or something in it."""
    absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 -- works on bytes, too
    return absolute == folder or absolute.startswith(f"{folder}/")


def small_stacks() -> None:
    """Give threads a stack of the size that musl gives them, instead of 8 MB."""
    _thread.stack_size(128 << 10)


def no_passwd_entry() -> None:
    """Let this user have no entry in the list of users."""
    pwd = importlib.import_module("pwd")

    def unknown(who: object) -> NoReturn:
        raise KeyError(f"no entry for {who}")

    for name in ("getpwuid", "getpwnam"):
        setattr(pwd, name, unknown)


LOOK_FOR_MACOS = """
asyncio concurrent.futures.thread multiprocessing.util platform sqlite3 ssl subprocess sysconfig
urllib.request uuid
"""
"""Modules of Python that would look for macOS's own modules."""


def darwin() -> None:
    """Call the system darwin, after the modules that would look for macOS's own."""
    for name in LOOK_FOR_MACOS.split():
        importlib.import_module(name)
    sys.modules["platform"].uname()
    sys.modules["sysconfig"].get_config_vars()
    sys.platform = "darwin"


def calls(*names: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the removal of each of these functions of ``os``."""
    for name in names:
        yield name, lacks("os", name)


REMOVALS: dict[str, Callable[[], None]] = {
    **dict(calls("fdatasync", "posix_fallocate", "memfd_create")),
    "posix_fallocate: EOPNOTSUPP": fails("os", "posix_fallocate", errno.EOPNOTSUPP),
    "memfd_create: ENOSYS": fails("os", "memfd_create", errno.ENOSYS),
    "link: EPERM": fails("os", "link", errno.EPERM),
    "holes": lacks("os", "SEEK_DATA", "SEEK_HOLE"),
    "sched": lacks("os", *(name for name in dir(os) if name.startswith("sched_"))),
    "unlimited descriptors": unlimited_descriptors,
    "few descriptors": few_descriptors,
    "full sync": full_sync(),
    "full sync: ENOTSUP": full_sync(errno.ENOTSUP),
    "epoll": lacks("select", "epoll"),
    "pidfd": lacks("os", "pidfd_open"),
    "queue of sockets": no_queue_of_sockets,
    "proc": no_proc,
    "writable root": read_only_root,
    "large stacks": small_stacks,
    "passwd entry": no_passwd_entry,
    "uvloop": cannot_import("uvloop"),
    "ctypes": cannot_import("ctypes", "_ctypes"),
    "linux": darwin,
}


def take_away() -> None:
    """Take away what the environment names."""
    wanted = os.environ.get("ZOOLET_WITHOUT")
    if wanted is None:
        return
    note(f"process {' '.join(sys.orig_argv)}".replace("\n", " "))
    for name in filter(None, wanted.split(",")):
        REMOVALS[name]()


take_away()
