"""A file to which whole lines are appended, and which is rotated by size and by time.

Invariants: a line is in the file completely or not at all, also after a failed write. If that
cannot be ensured, the next line begins a new line. The file and its older parts have the wanted
mode. This module does not know what the lines mean.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

_MS_PER_H: Final = 3_600_000


class RotatingFile:
    """The file ``PATH`` and its older parts ``PATH.1`` (the newest) to ``PATH.N``.

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
            self._is_plain = stat.S_ISREG(found.st_mode)
            if self._is_plain and stat.S_IMODE(found.st_mode) != self._mode:
                os.fchmod(fd, self._mode)
            size_bytes = found.st_size if self._is_plain else 0
            self._is_within_line = bool(size_bytes) and os.pread(fd, 1, size_bytes - 1) != b"\n"
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
            self._take_back(len(data) - len(left))
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

    def _is_due(self, more_bytes: int, now_ms: int) -> bool:
        if not self._is_plain or not self._size_bytes:
            return False
        if self._size_bytes + more_bytes > self._max_bytes:
            return True
        return bool(self._period_ms) and now_ms // self._period_ms > self._period

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._part(number).replace(self._part(number + 1))
        self.path.replace(self._part(1))
        self.open()

    def _part(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _take_back(self, written_bytes: int) -> None:
        """Remove the part of the lines that was written before a write failed."""
        if not written_bytes:
            return
        try:
            os.ftruncate(self._fd, self._size_bytes)
        except OSError:
            self._size_bytes += written_bytes
            self._is_within_line = True
