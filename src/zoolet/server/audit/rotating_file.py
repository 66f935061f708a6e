"""A file to which whole lines are appended, and which is rotated by size and by time.

Invariants: a line is in the file completely or not at all, also after a failed write. If that
cannot be ensured, the next line begins a new line. The file and its older parts have the wanted
mode. This module does not know what the lines mean.
"""

import os
import stat
from pathlib import Path
from typing import Final

_MS_PER_H: Final = 3_600_000
_DESCRIPTORS: Final = ("/dev", "/proc")
"""Where names of open files are, like ``/dev/stdout``: these files are not renamed."""


class RotatingFile:
    """The file ``PATH`` and its older parts ``PATH.1`` (the newest) to ``PATH.N``.

    If the path is a symbolic link, the older parts are beside the file to which it leads.

    Another program may rename or remove the file at any time; the next write makes a new one.
    """

    def __init__(self, path: Path, max_bytes: int, period_h: int, kept: int, mode: int) -> None:
        """Prepare the file without opening it.

        Args:
            path: the path of the file.
            max_bytes: a file does not become longer, unless a single write is longer.
            period_h: a new file begins at each multiple of this number of hours since the epoch
                (UTC); 0 means that time does not matter.
            kept: the number of older parts to keep, at least 1.
            mode: the permissions of the file.
        """
        self.path = path
        self._max_bytes = max_bytes
        self._period_ms = period_h * _MS_PER_H
        self._kept = kept
        self._mode = mode
        self._is_descriptor = any(map(path.is_relative_to, _DESCRIPTORS))
        self._fd = -1
        self._inode = (0, 0)
        self._size_bytes = 0
        self._is_plain = True
        self._period = 0
        self._is_within_line = False

    def open(self) -> None:
        """Open the file, and create it if it does not exist; raises OSError."""
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.path, flags, self._mode)
        try:
            found = os.fstat(fd)
            self._is_plain = stat.S_ISREG(found.st_mode) and not self._is_descriptor
            if self._is_plain and stat.S_IMODE(found.st_mode) != self._mode:
                os.fchmod(fd, self._mode)
            size_bytes = found.st_size if self._is_plain else 0
            self._is_within_line = _ends_within_line(fd, size_bytes)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._inode = fd, (found.st_dev, found.st_ino)
        self._size_bytes = size_bytes
        if self._period_ms:
            self._period = found.st_mtime_ns // 1_000_000 // self._period_ms

    def write(self, lines: bytes, now_ms: int) -> None:
        """Append complete lines; raises OSError if they are not in the file then.

        ``now_ms`` is the time in milliseconds since the epoch.
        """
        self._open_current()
        if self._is_due(len(lines), now_ms):
            self._rotate()
        if self._period_ms:
            self._period = now_ms // self._period_ms
        data = b"\n" + lines if self._is_within_line else lines
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            self._take_back(data[: len(data) - len(left)])
            raise
        self._is_within_line = False
        self._size_bytes += len(data)

    def close(self) -> None:
        """Close the file, if it is open."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)

    def _open_current(self) -> None:
        """Open the path again if the file there is another one, or none."""
        if self._fd == -1:
            self.open()
            return
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self.open()
            return
        if (found.st_dev, found.st_ino) != self._inode:
            self.open()
        elif self._is_plain:
            self._size_bytes = found.st_size  # another program may have written or emptied it
            if self._is_within_line:
                self._is_within_line = _ends_within_line(self._fd, found.st_size)

    def _is_due(self, more_bytes: int, now_ms: int) -> bool:
        if not self._is_plain or not self._size_bytes:
            return False
        if self._size_bytes + more_bytes > self._max_bytes:
            return True
        return bool(self._period_ms) and now_ms // self._period_ms > self._period

    def _rotate(self) -> None:
        """Begin a new file. After a failure, the next attempt moves no part a second time."""
        self.close()
        parts = [self.path.resolve()]
        while len(parts) <= self._kept and (len(parts) == 1 or os.path.lexists(parts[-1])):
            parts.append(parts[0].with_name(f"{parts[0].name}.{len(parts)}"))
        while len(parts) > 1:
            target = parts.pop()
            parts[-1].replace(target)
        self.open()

    def _take_back(self, written: bytes) -> None:
        """Remove the part of the lines that was written before a write failed.

        Nothing is removed if another program has written or emptied the file meanwhile.
        """
        if not written:
            return
        size_bytes = self._size_bytes + len(written)
        try:
            if os.fstat(self._fd).st_size == size_bytes:
                os.ftruncate(self._fd, self._size_bytes)
                return
        except OSError:
            pass
        self._size_bytes = size_bytes
        self._is_within_line = not written.endswith(b"\n")


def _ends_within_line(descriptor: int, size_bytes: int) -> bool:
    return bool(size_bytes) and os.pread(descriptor, 1, size_bytes - 1) != b"\n"
