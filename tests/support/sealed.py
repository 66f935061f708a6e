"""A program that runs a command sealed off: with ports of its own, and no process outlives it.

Usage: python sealed.py WAIT_S COMMAND... The command gets a network of its own that has only
127.0.0.1 and ::1, so it can use any port. If the system allows no such network, the command waits
until no other runs, and gets the machine's ports. A process that the command leaves running is
ended, if it does not end by itself within WAIT_S seconds.

Exit status: the command's; or 70 if processes had to be ended (their command lines are printed);
or 77 if the command can have neither a network nor the ports. Linux only. Imports only the standard
library, because it may run with another Python than the tests.
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

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_CHILD_SUBREAPER = 36
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = "16sh22x"

_libc = ctypes.CDLL(None, use_errno=True)


def leave_the_network() -> bool:
    """Move this process into a network of its own, with a user namespace if that needs one."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWNET) != 0:
        if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            return False
        process = Path("/proc/self")
        (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"{user} {user} 1")
        (process / "gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        _, flags = struct.unpack(_IFREQ, answer)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
    return True


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
    if not leave_the_network() and not wait_for_the_ports():
        return REFUSED
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    done = subprocess.run(sys.argv[2:], check=False)
    names = end_what_is_left(0.0 if done.returncode else float(sys.argv[1]))
    for name in names:
        print(f"left running: {name}", file=sys.stderr)
    return done.returncode or (LEFT_RUNNING if names else 0)


if __name__ == "__main__":
    sys.exit(main())
