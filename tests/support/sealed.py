"""A program that runs a command sealed off: it leaves no process, no file and no port behind.

Usage: python sealed.py WAIT_S DIRECTORY COMMAND... The command gets a network of its own that has
only 127.0.0.1 and ::1, so it can use any port. All files outside of DIRECTORY are read-only. If the
system allows no such namespaces, for example in a container, the command waits until no other runs,
and gets the machine's ports and files. A process that the command leaves running is ended, if it
does not end by itself within WAIT_S seconds.

Exit status: the command's; or 70 if processes had to be ended (their command lines are printed);
or 77 if the command can have neither namespaces nor the ports. Linux only. Imports only the
standard library, because it may run with another Python than the tests.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LEFT_RUNNING = 70
REFUSED = 77
PORTS = (2181, 8080)
"""The ports that the pages use."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = "16sh22x"

_libc = ctypes.CDLL(None, use_errno=True)


def leave_the_namespaces() -> bool:
    """Give this process mounts and a network of its own; say whether the system allows it.

    Users other than root need a user namespace too.
    """
    user, group = os.getuid(), os.getgid()
    flags = _CLONE_NEWNET | _CLONE_NEWNS
    if _libc.unshare(flags) != 0:
        if _libc.unshare(_CLONE_NEWUSER | flags) != 0:
            return False
        process = Path("/proc/self")
        (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"{user} {user} 1")
        (process / "gid_map").write_text(f"{group} {group} 1")
    return True


def switch_loopback_on() -> None:
    """Switch the interface lo on: in a new network it is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        _, flags = struct.unpack(_IFREQ, answer)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))


def protect_files(directory: Path) -> None:
    """Make all mounts read-only, except that of the directory and the shared memory."""
    path = os.fsencode(directory)
    checked(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    checked(_libc.mount(path, path, None, _MS_BIND, None))
    set_mount(b"/", _AT_RECURSIVE, set_flags=_MOUNT_ATTR_RDONLY)
    set_mount(path, 0, clear_flags=_MOUNT_ATTR_RDONLY)
    if Path("/dev/shm").is_mount():
        set_mount(b"/dev/shm", 0, clear_flags=_MOUNT_ATTR_RDONLY)
    os.chdir(directory / Path.cwd().relative_to(directory))  # through the new mount


def set_mount(path: bytes, scope: int, *, set_flags: int = 0, clear_flags: int = 0) -> None:
    """Change flags of a mount, or with ``_AT_RECURSIVE`` also of all mounts below it."""
    attributes = struct.pack("=4Q", set_flags, clear_flags, 0, 0)
    checked(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path, scope, attributes, len(attributes)))


def checked(status: int) -> None:
    """Raise the error of a system call that failed."""
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def wait_for_the_ports() -> bool:
    """Wait until no other command has the machine's ports; say whether they are free then."""
    path = Path(tempfile.gettempdir()) / f"zoolet-pages-{os.getuid()}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends
    for port in PORTS:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def reap(ends_at: float) -> bool:
    """Wait until all children have ended; say whether they have before this time.

    Orphans of the command are children of this process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not ended:
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                return False
            signal.sigtimedwait({signal.SIGCHLD}, left_s)


def children() -> list[int]:
    """Return the children of this process that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # ended meanwhile
                # After the name, which may contain anything: the state, then the parent.
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if state != "Z" and int(parent) == os.getpid():
                    found.append(int(entry.name))
    return found


def end_what_is_left(wait_s: float) -> list[str]:
    """End the processes that do not end by themselves, and return their command lines.

    A process whose parent ends becomes a child of this one, so the loop ends every one of them.
    """
    names: list[str] = []
    ends_at = time.monotonic() + wait_s
    while not reap(ends_at):
        for pid in children():
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            names.append(" ".join(part.decode(errors="replace") for part in arguments))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return names


def main() -> int:
    """Run the command."""
    if leave_the_namespaces():
        switch_loopback_on()
        try:
            protect_files(Path(sys.argv[2]).resolve())
        except OSError:  # before Linux 5.12
            return REFUSED
    elif not wait_for_the_ports():
        return REFUSED
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    done = subprocess.run(sys.argv[3:], check=False)
    names = end_what_is_left(0.0 if done.returncode else float(sys.argv[1]))
    for name in names:
        print(f"left running: {name}", file=sys.stderr)
    return done.returncode or (LEFT_RUNNING if names else 0)


if __name__ == "__main__":
    sys.exit(main())
