"""Functions that start, find and stop a server in the background.

The pid file is also the lock of the data directory: a server runs on the directory exactly while
it holds that lock. A pid file without a lock is left over from a server that has ended.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from zoolet.console.os_errors import explain
from zoolet.model.addresses import not_resolved
from zoolet.process.pids import is_alive
from zoolet.server.common.errors import ServerError
from zoolet.server.logs.logs import open_log
from zoolet.server.zoo_cfg.config import NO_CLIENTS, Config, TlsConfig
from zoolet.storage.files import LOCK_NAME, pid_in

OUTPUT_NAME = "zookeeper.out"
"""The name of a background server's log file in the dataDir, if ``ZOO_LOG_DIR`` is not set."""

_CHECK_S = 0.02
_ANSWER_TIMEOUT_S = 5.0
_MOST_PID_BYTES = 32
_READY = b"ready\n"


def running_pid(config: Config) -> int | None:
    """Return the pid of the server that runs on the dataDir; None if no server runs on it.

    Raises ServerError if this user does not have permission to read the pid file.
    """
    path = config.data_dir / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ServerError(f"cannot determine whether a server runs. {explain(error)}") from error
    try:
        pid = pid_in(os.read(fd, _MOST_PID_BYTES))
        # While this function holds the lock, no server can start. So it requests the lock only if
        # the process with the pid in the file is alive.
        if pid is None or not is_alive(pid):
            return None
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return pid
    except OSError as error:
        error.filename = error.filename or str(path)
        raise ServerError(f"cannot determine whether a server runs. {explain(error)}") from error
    finally:
        os.close(fd)
    return None


def foreground_command(config_path: Path, options: Sequence[str]) -> list[str]:
    """Return the command line that runs a server in the foreground."""
    command = [sys.executable, "-m", "zoolet", "server", "start-foreground", *options]
    return [*command, str(config_path)]


def start(
    config: Config, config_path: Path, log_path: Path, options: Sequence[str], timeout_s: float
) -> "subprocess.Popen[bytes]":
    """Start a server in a new session; return when the server reports that it listens.

    The server logs to ``log_path``; ``options`` are options of start-foreground. Raises
    ServerError, with the reason that the server reports, if the server ends before it listens.
    """
    pid = running_pid(config)
    if pid is not None:
        raise ServerError(f"already running as process {pid}, on {config.data_dir}.")
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        output = os.fdopen(open_log(log_path), "ab")
    except OSError as error:
        raise ServerError(
            f"cannot write the server's log {log_path}. {explain(error)} Or set ZOO_LOG_DIR to"
            " another directory, or set another dataDir in zoo.cfg."
        ) from error
    receiving, sending = os.pipe()
    with output, open(receiving, "rb", buffering=0) as reports:  # noqa: PTH123 -- a descriptor
        begin = output.tell()
        own = ["--log-file", str(log_path), "--ready-fd", str(sending)]
        try:
            process = subprocess.Popen(
                foreground_command(config_path, [*options, *own]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(sending,),
            )
        except OSError as error:
            raise ServerError(f"cannot start a process. {explain(error)}") from error
        finally:
            os.close(sending)
        report = _read_report(reports.fileno(), time.monotonic() + timeout_s)
    if report is None:
        raise ServerError(
            f"the server does not serve yet after {timeout_s:g} s; process {process.pid} is still"
            f" starting. Its log is {log_path}:\n{_tail(log_path, begin)}"
        )
    if report == _READY:
        process.returncode = 0  # the server outlives this process: Popen must not warn about that
        return process
    process.wait()
    if report:
        raise ServerError(f"{report.decode(errors='replace').strip()} (The log is {log_path}.)")
    raise ServerError(
        f"the server ended with status {process.returncode} before it served. Its log, {log_path},"
        f" says:\n{_tail(log_path, begin)}"
    )


def _read_report(fd: int, deadline: float) -> bytes | None:
    """Return the report that a server sends before it closes the pipe; None after the deadline."""
    report = b""
    while True:
        timeout_s = max(0.0, deadline - time.monotonic())
        if not select.select([fd], [], [], timeout_s)[0]:
            return None
        received = os.read(fd, 65536)
        if not received:
            return report
        report += received


class ReadinessReport:
    """Sends one report over a pipe to the process that started the server."""

    def __init__(self, fd: int | None) -> None:
        """Create the report; ``fd`` is the pipe, None if no process waits for a report."""
        self._fd = fd

    def ready(self) -> None:
        """Report that the server accepts clients."""
        self._send(_READY)

    def failed(self, reason: str) -> None:
        """Report why the server cannot start."""
        self._send(reason.encode(errors="replace"))

    def _send(self, report: bytes) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        # The starting process may have ended.
        with contextlib.suppress(OSError):
            os.write(fd, report)
        with contextlib.suppress(OSError):
            os.close(fd)


class PidFile:
    """A second file with the server's pid, whose path is in ``ZOOPIDFILE``.

    The file is not a lock. It is written when the server has locked its data directory and listens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = f"{os.getpid()}\n"

    def write(self) -> None:
        """Write the file; raises ServerError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(self._content)
        except OSError as error:
            raise ServerError(f"cannot write ZOOPIDFILE. {explain(error)}") from error

    def remove(self) -> None:
        """Remove the file, unless another server has written its pid into it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if self._path.read_text() == self._content:
                self._path.unlink()


def stop(config: Config, timeout_s: float) -> int | None:
    """Stop the server and return its pid after it has ended; None if no server runs.

    Raises ServerError if the server does not end in time, or if this user does not have permission
    to stop it.
    """
    pid = running_pid(config)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return pid
    except PermissionError as error:
        raise ServerError(
            f"process {pid} belongs to another user: stop it as that user, or as root."
        ) from error
    deadline = time.monotonic() + timeout_s
    while running_pid(config) == pid:
        if time.monotonic() > deadline:
            raise ServerError(
                f"process {pid} has not stopped after {timeout_s:g} s. Look at the server's log. To"
                f" end the process: kill -9 {pid}. Every acknowledged change is on disk."
            )
        time.sleep(_CHECK_S)
    return pid


def ask(config: Config, word: str) -> str:
    """Return the server's reply to a four-letter word.

    Raises OSError if the server does not reply, ServerError if its host name cannot be resolved.
    """
    address = client_address(config)
    try:
        connection = socket.create_connection(address, timeout=_ANSWER_TIMEOUT_S)
        if config.client_port == NO_CLIENTS and config.tls is not None:
            connection = _with_tls(connection, config.tls)
    except socket.gaierror as error:
        name = not_resolved(address[0], error.strerror or str(error))
        raise ServerError(f"{name}. Correct clientPortAddress in zoo.cfg.") from error
    with connection:
        connection.sendall(word.encode())
        received = []
        while data := connection.recv(65536):
            received.append(data)
    return b"".join(received).decode(errors="replace")


def _with_tls(connection: socket.socket, config: TlsConfig) -> socket.socket:
    """Return the connection with TLS to this machine's own server.

    It shows the server's own certificate as that of the client. The server's name is not checked:
    the certificate is for the name that clients use, and the address is this machine's.
    """
    import ssl  # noqa: PLC0415 -- most servers do not need it

    from zoolet.server.sockets.stores import load_key  # noqa: PLC0415 -- see above

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    load_key(context, config.key_store)
    return context.wrap_socket(connection)


def client_address(config: Config) -> tuple[str, int]:
    """Return the address and the port at which this machine's programs connect to the server."""
    address, port = config.client_address, config.client_port
    if port == NO_CLIENTS and config.tls is not None and config.tls.listener is not None:
        address, port = config.tls.listener
    return "127.0.0.1" if address is None else address, port


def _tail(path: Path, begin: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(begin)
        return file.read()[-4000:].decode(errors="replace")
    return "(the log cannot be read)"
