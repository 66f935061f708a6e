"""Starting, finding and stopping a server that runs in the background.

The pid file is the lock that a server holds on its data directory: a process runs on that directory
exactly while its lock is held, whatever number a file left behind may hold.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from zoolet.model.addresses import not_resolved
from zoolet.server.config import Config
from zoolet.server.errors import ServerError
from zoolet.storage.disk import Disk
from zoolet.storage.files import LOCK_NAME

OUTPUT_NAME = "zookeeper.out"
"""What a background server logs to, in its dataDir."""

_CHECK_S = 0.02
_ANSWER_TIMEOUT_S = 5.0


def running_pid(config: Config) -> int | None:
    """Return the pid of the server that has ``config``'s data directory, None where none has."""
    path = config.data_dir / LOCK_NAME
    if not path.exists():
        return None
    try:
        Disk().lock(path).release()
    except BlockingIOError:
        return int(path.read_text() or 0) or None
    return None


def start(config: Config, config_path: Path, timeout_s: float) -> "subprocess.Popen[bytes]":
    """Start a server that outlives this process; return when its port answers.

    Raises ServerError, with the end of what it logged, where it ends before that.
    """
    pid = running_pid(config)
    if pid is not None:
        raise ServerError(f"a server is already running on {config.data_dir}, as process {pid}.")
    if answers(config):
        raise ServerError(
            f"something else answers on port {config.client_port} of {connect_address(config)}."
            " Stop it, or set another clientPort in zoo.cfg."
        )
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
        output_path = config.data_dir / OUTPUT_NAME
        output = output_path.open("ab")
    except OSError as error:
        raise ServerError(
            f"cannot write in the data directory {config.data_dir}: {error.strerror}. Give this"
            " user the right to, or set another dataDir in zoo.cfg."
        ) from error
    with output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "zoolet", "server", "start-foreground", str(config_path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if answers(config):
            return process
        if time.monotonic() > deadline:
            raise ServerError(
                f"the server does not answer after {timeout_s:g} s; it goes on trying as process"
                f" {process.pid}. Its log is {output_path}:\n{_tail(output_path, begin)}"
            )
        time.sleep(_CHECK_S)
    raise ServerError(
        f"the server did not start. Its log, {output_path}, says:\n{_tail(output_path, begin)}"
    )


def stop(config: Config, timeout_s: float) -> int | None:
    """Stop the server and return its pid once it has ended; None where none runs.

    Raises ServerError where it does not end in time.
    """
    pid = running_pid(config)
    if pid is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while running_pid(config) == pid:
        if time.monotonic() > deadline:
            raise ServerError(
                f"process {pid} has not stopped after {timeout_s:g} s; see"
                f" {config.data_dir / OUTPUT_NAME}."
            )
        time.sleep(_CHECK_S)
    return pid


def ask(config: Config, word: str) -> str:
    """Return the server's answer to a four-letter word.

    Raises OSError if the server does not answer, ServerError if its host name does not resolve.
    """
    address = (connect_address(config), config.client_port)
    try:
        connection = socket.create_connection(address, timeout=_ANSWER_TIMEOUT_S)
    except socket.gaierror as error:
        name = not_resolved(address[0], error.strerror or str(error))
        raise ServerError(f"{name}. Correct clientPortAddress in zoo.cfg.") from error
    with connection:
        connection.sendall(word.encode())
        received = []
        while data := connection.recv(65536):
            received.append(data)
    return b"".join(received).decode()


def answers(config: Config) -> bool:
    """Say whether the client port accepts a connection."""
    try:
        address = (connect_address(config), config.client_port)
        socket.create_connection(address, timeout=_ANSWER_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def connect_address(config: Config) -> str:
    """Return the address under which this machine reaches the server."""
    return "127.0.0.1" if config.client_address is None else config.client_address


def _tail(path: Path, begin: int) -> str:
    return path.read_bytes()[begin:].decode(errors="replace")[-4000:]
