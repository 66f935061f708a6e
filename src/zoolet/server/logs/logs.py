"""The server's own log: the format of its records, and its file.

This log is not the transaction log. A record is one line: control characters in texts of clients
are escaped. Only a traceback has more lines, which are indented. If a record cannot be written, the
server counts the lost record and continues.
"""

import contextlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from pathlib import Path

from zoolet.model.build import DESCRIPTION
from zoolet.storage.disk import FILE_MODE
from zoolet.storage.files import DataDirectories

if sys.platform != "win32":
    import fcntl

_STDOUT, _STDERR = 1, 2
_CONTROL = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F]
_CONTROL += [*range(0x2028, 0x202F), *range(0x2066, 0x206A)]
CONTROL_ESCAPES = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # as Python writes them
    for code in _CONTROL
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_TRACEBACK_ESCAPES = {code: text for code, text in CONTROL_ESCAPES.items() if code != ord("\n")}

LEVELS = ("debug", "info", "warning", "error")


class LogFormat(Enum):
    """The format of the records of the log."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """Formats a record as a line for people: time, level, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        """Return the line; escape the characters with which a client could forge a record."""
        return super().formatMessage(record).translate(CONTROL_ESCAPES)

    def formatException(self, ei: "logging._SysExcInfoType") -> str:  # noqa: N802 -- logging's name
        """Return a traceback, indented so that its lines do not look like records."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 -- logging's name
        """Return a stack, indented so that its lines do not look like records."""
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time (ISO 8601), level, logger, message, exception."""

    def __init__(self) -> None:
        import json  # noqa: PLC0415 -- not needed for LogFormat.TEXT
        from datetime import UTC, datetime  # noqa: PLC0415 -- not needed for LogFormat.TEXT

        super().__init__()
        self._encode = json.dumps
        self._time = partial(datetime.fromtimestamp, tz=UTC)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline character."""
        shown = {
            "time": self._time(record.created).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = record.stack_info
        return self._encode(shown)


class LogHandler(logging.Handler):
    """Writes each record with one system call, so that lines of several writers do not mix."""

    def __init__(self, fd: int = _STDERR) -> None:
        super().__init__()
        self._fd = fd
        self._lost = 0
        self._is_within_line = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        try:
            text = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 -- a wrong logging call must not raise in its caller
            self.handleError(record)
            return
        if self._lost:
            text = self.format(self._about_lost()) + "\n" + text
        if self._is_within_line:
            text = "\n" + text
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while left:
                left = left[os.write(self._fd, left) :]
                self._is_within_line = bool(left)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def _about_lost(self) -> logging.LogRecord:
        message = "%d records before this one could not be written to the log"
        name, level = __name__, logging.WARNING
        return logging.LogRecord(name, level, "", 0, message, (self._lost,), None)


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log file, which is created if it does not exist.

    Raises OSError.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)


class LogFile:
    """The log file, to which standard output and standard error are redirected.

    Another program may rename the file; ``reopen`` then creates a new file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raises OSError."""
        self.path = path.absolute()
        self.reopen()

    def reopen(self) -> None:
        """Open the path again, and create the file if it does not exist; raises OSError."""
        fd = open_log(self.path)
        try:
            for standard in (_STDOUT, _STDERR):
                os.dup2(fd, standard)
        finally:
            os.close(fd)


def set_up(level: str, log_format: LogFormat, path: Path | None) -> Callable[[], None]:
    """Log to the file ``path``, or to standard error if ``path`` is None; raises OSError.

    Returns a function that reopens the file for log rotation. The function raises no exception.
    """
    file = LogFile(path) if path is not None else None
    _append_only(_STDERR)
    handler = LogHandler()
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # A failure to write the text in the buffer of stdout must not stop the server.
    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()

    log = logging.getLogger(__name__)

    def reopen() -> None:
        if file is None:
            log.info("SIGHUP: there is no log file to reopen; set one with --log-file")
            return
        try:
            file.reopen()
        except OSError as error:
            log.warning(
                "SIGHUP: the log file cannot be reopened, so the server uses the old one: %s",
                error,
            )
        else:
            log.info("SIGHUP: the log file %s was reopened", file.path)

    return reopen


def describe_serving(
    directories: DataDirectories, listening: Iterable[tuple[str, Iterable[tuple[str, int]]]]
) -> str:
    """Return the line that a server logs when it begins to serve clients.

    ``listening`` has, for each kind of user ("clients", "admin"), the hosts and ports.
    """
    where = f"dataDir {directories.snapshots.parent.absolute()}"
    if directories.logs != directories.snapshots:
        where += f", dataLogDir {directories.logs.parent.absolute()}"
    listeners = []
    for what, addresses in listening:
        shown = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
        )
        listeners.append(f"{what} {' '.join(shown)}")
    return f"zoolet {DESCRIPTION} serves {where}, listening for {', '.join(listeners)}"


def _append_only(fd: int) -> None:
    """Make each write append to the file, also after another program has truncated the file."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.fstat(fd).st_mode):
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.translate(_TRACEBACK_ESCAPES).split("\n"))
